<?php
/*
 * Requests to a server that is about to be stopped: load.php URL
 *
 * In PHP, because wherever Debian's php-fpm is, php is, too. It prints `steady`
 * once it is answered; a line on its standard input says that the stop has
 * begun. Like a load balancer that hasn't heard of that, it goes on sending for
 * LAG seconds, and then waits for the answers that are due. It prints how many
 * requests ended in which way.
 *
 * Each request has a connection of its own, and none is sent again. Some ask
 * for a page that waits for a slow upstream, which is also here.
 */
const FAST_EVERY = 0.01, SLOW_EVERY = 0.2, UPSTREAM_TAKES = 1.5, LAG = 1.0, PATIENCE = 6;

[, $url] = $argv;
['host' => $host, 'port' => $port] = parse_url($url) + ['port' => 80];
$upstream = stream_socket_server('tcp://0.0.0.0:0');
$upstreamPort = (int) substr(strrchr(stream_socket_get_name($upstream, false), ':'), 1);

function now(): float
{
    return hrtime(true) / 1e9;
}

// Steady once a request is answered.
for ($until = now() + PATIENCE; @file_get_contents("$url/") === false; usleep(20_000)) {
    now() < $until or exit("load.php: nothing answers at $url\n");
}
echo "steady\n";

$open = $waiting = $count = [];
$connecting = [];
$next = ['/' => now(), "/slow.php?port=$upstreamPort" => now()];
$every = array_combine(array_keys($next), [FAST_EVERY, SLOW_EVERY]);
$end = INF;

$finish = function (int $id, string $outcome) use (&$open, &$connecting, &$count): void {
    $count[$outcome] = ($count[$outcome] ?? 0) + 1;
    fclose($open[$id]['stream']);
    unset($open[$id], $connecting[$id]);
};

while (now() < $end || $open) {
    foreach ($next as $path => $due) {
        if ($due > now() || now() >= $end) {
            continue;
        }
        $next[$path] += $every[$path];
        $flags = STREAM_CLIENT_CONNECT | STREAM_CLIENT_ASYNC_CONNECT;
        $stream = @stream_socket_client("tcp://$host:$port", $_, $_, 0, $flags);
        if (!$stream) {
            $count['refused'] = ($count['refused'] ?? 0) + 1;
            continue;
        }
        stream_set_blocking($stream, false);
        $id = (int) $stream;
        $open[$id] = ['stream' => $stream, 'path' => $path, 'answer' => '', 'until' => now() + PATIENCE];
        $connecting[$id] = $stream;
    }

    $read = array_merge([$upstream], array_column($open, 'stream'));
    if ($end === INF) {
        $read[] = STDIN;
    }
    $write = array_values($connecting);
    $except = null;
    stream_select($read, $write, $except, 0, 5000);

    foreach ($write as $stream) {
        $id = (int) $stream;
        unset($connecting[$id]);
        if (stream_socket_get_name($stream, true) === false) {
            $finish($id, 'refused');
        } else {
            // HTTP/1.0: the end of the connection is the end of the answer.
            @fwrite($stream, "GET {$open[$id]['path']} HTTP/1.0\r\nHost: $host\r\n\r\n");
        }
    }
    foreach ($read as $stream) {
        $id = (int) $stream;
        if ($stream === STDIN) {
            fgets(STDIN);
            $end = now() + LAG;
        } elseif ($stream === $upstream) {
            $waiting[] = [stream_socket_accept($upstream), now() + UPSTREAM_TAKES];
        } elseif (isset($open[$id])) {
            $part = @fread($stream, 65536);
            $open[$id]['answer'] .= $part;
            if ($part === '' || $part === false) {
                $answer = $open[$id]['answer'];
                // Every body ends in a newline, and the headers in two.
                $whole = preg_match('/[^\r\n]\r?\n$/D', $answer);
                $finish($id, $whole ? substr($answer, 9, 3) : 'cut');
            }
        }
    }
    foreach ($waiting as $key => [$stream, $due]) {
        if ($due <= now()) {
            fwrite($stream, "HTTP/1.0 200 OK\r\n\r\nslow, but whole\n");
            fclose($stream);
            unset($waiting[$key]);
        }
    }
    foreach ($open as $id => $request) {
        if ($request['until'] <= now()) {
            $finish($id, isset($connecting[$id]) ? 'refused' : 'cut');
        }
    }
}
foreach ($count as $outcome => $number) {
    echo "$outcome $number\n";
}
