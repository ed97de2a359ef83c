# A service for the tests: perl puppet.pl NAME [SIGNAL=CODE]… [listen] [orphans=NUMBER]
#
# Says "NAME ready, pid PID", then "NAME got SIG…" for each signal that it gets,
# and none of them ends it but those that are given an exit code. With `listen`
# it says its port, too, and answers "served" to each connection. `orphans=20`
# leaves so many orphans behind, which end at once or soon. `handles=TERM,QUIT`
# leaves all other signals as they were.
use strict;
use Config;
use IO::Socket::INET;

my ($name, @rules) = @ARGV;
my %code = map { /^(\w+)=(\d+)$/ ? ($1 => $2) : () } @rules;
my ($handled) = map { /^handles=([\w,]+)$/ } @rules;
my %handled = map { $_ => 1 } split /,/, $handled // '';
$| = 1;

for (1 .. delete $code{orphans} // 0) {
    my $parent = fork // die "fork: $!";
    if (!$parent) {
        # The parent ends without a wait, whether its child has ended or not.
        exit 0 if fork // die "fork: $!";
        select(undef, undef, undef, 0.1 * ($_ % 3));
        exit 0;
    }
    waitpid $parent, 0;
}

# Left out: what can't be handled, what the C library keeps for itself, aliases,
# and what faults and children raise.
my %left_out = map { $_ => 1 } qw(
    ZERO KILL STOP NUM32 NUM33 IOT CLD POLL UNUSED ILL TRAP ABRT BUS FPE SEGV SYS CHLD
);
for my $signal (grep { !$left_out{$_} } split ' ', $Config{sig_name}) {
    next if $handled && !$handled{$signal};
    $SIG{$signal} = sub {
        print "$name got SIG$signal\n";
        exit $code{$signal} if exists $code{$signal};
    };
}

# Perl dies of the 121st signal that it hasn't come to handle: this one it may be
# sent without end.
$SIG{NUM50} = 'IGNORE' unless $handled;

my $listener;
if (grep { $_ eq 'listen' } @rules) {
    $listener = IO::Socket::INET->new(Listen => 9, LocalAddr => '127.0.0.1') or die "listen: $!";
}
print "$name ready, pid $$", $listener ? ', port ' . $listener->sockport : '', "\n";

# Not for ever: perl runs a handler that came just before the call only after it.
while (1) {
    my $readable = '';
    vec($readable, fileno $listener, 1) = 1 if $listener;
    next if select($readable, undef, undef, 0.2) < 1 or !$listener;
    my $connection = $listener->accept or next;
    print $connection "served\n";
}
