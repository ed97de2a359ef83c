//! What somebody asks for while all serve; oneshots; an order that was given; a service's
//! own time to stop. Traces, as in `traces.rs`.

use super::traces::{check, play_until_the_end_of};
use super::*;

/// What is after it waits until it has ended with success.
#[test]
fn a_oneshot_runs_to_its_end_before_what_is_after_it() {
    check(
        "
    delay 2 grace 10
    migrate oneshot
    php-fpm fpm
    nginx web
    40 migrate exits 0
    50 SIGTERM
    53 nginx exits 0
    53 php-fpm exits 0
    ",
        "
        0.0 s  migrate   started
        30.0 s  migrate   not ready after 30.0 s: others wait for it
        40.0 s  migrate   exited 0
        40.0 s  php-fpm   started
        40.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 2.0 s
        2.0 s  nginx     <- SIGQUIT
        3.0 s  nginx     exited 0
        3.0 s  php-fpm   workers <- SIGQUIT
        3.0 s  php-fpm   master <- SIGQUIT
        3.0 s  php-fpm   exited 0
        3.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn a_oneshot_that_fails_stops_the_start_with_its_status() {
    check(
        "
    delay 2 grace 10
    cache app
    migrate oneshot
    nginx web
    4 migrate exits 3
    4.5 cache exits 0
    ",
        "
        0.0 s  cache     started
        0.0 s  migrate   started
        0.0 s  migrate   exited 3
        0.0 s  migrate   ended unasked
        0.0 s  cache     <- SIGTERM
        0.5 s  cache     exited 0
        0.5 s  drainit   exits 3
        ",
    );
}

/// Its codes of success are its own.
#[test]
fn a_oneshot_ends_with_a_code_of_success() {
    check(
        "
    delay 2 grace 10
    migrate oneshot success 3
    nginx web
    4 migrate exits 3
    ",
        "
        0.0 s  migrate   started
        4.0 s  migrate   exited 3
        4.0 s  nginx     started
        ",
    );
}

#[test]
fn a_oneshot_may_be_tried_again() {
    check(
        "
    delay 2 grace 10
    migrate oneshot on-failure limit 1
    nginx web
    4 migrate exits 1
    6 migrate exits 0
    ",
        "
        0.0 s  migrate   started
        4.0 s  migrate   exited 1
        4.0 s  migrate   starts again in 1.0 s
        5.0 s  migrate   started
        6.0 s  migrate   exited 0
        6.0 s  nginx     started
        ",
    );
}

#[test]
fn an_inessential_oneshot_that_fails_holds_nobody_up() {
    check(
        "
    delay 2 grace 10
    warm-up oneshot inessential
    nginx web
    4 warm-up exits 1
    ",
        "
        0.0 s  warm-up   started
        4.0 s  warm-up   exited 1
        4.0 s  warm-up   stays away: exited 1 after 4.0 s
        4.0 s  nginx     started
        ",
    );
}

/// What it started to stay belongs to nobody, and goes at the end.
#[test]
fn what_a_oneshot_leaves_behind_runs_on() {
    check(
        "
    delay 0 grace 10
    prepare oneshot
    nginx web
    1 prepare has other
    2 prepare exits 0
    2 prepare loses other
    2 orphan other appears
    5 SIGTERM
    6 nginx exits 0
    6.5 orphan other goes
    ",
        "
        0.0 s  prepare   started
        2.0 s  prepare   exited 0
        2.0 s  nginx     started
        0.0 s  SIGTERM   draining, without a delay
        0.0 s  nginx     <- SIGQUIT
        1.0 s  nginx     exited 0
        1.0 s  orphans   <- SIGTERM
        1.5 s  drainit   exits 0
        ",
    );
}

/// It has no load balancer to wait for.
#[test]
fn a_stop_request_ends_a_oneshot_at_once() {
    check(
        "
    delay 2 grace 10
    migrate oneshot
    nginx web
    4 SIGTERM
    5 migrate dies of TERM
    ",
        "
        0.0 s  migrate   started
        0.0 s  SIGTERM   draining, without a delay
        0.0 s  migrate   <- SIGTERM
        1.0 s  migrate   killed by SIGTERM
        1.0 s  drainit   exits 0
        ",
    );
}

/// Nothing is left to be done.
#[test]
fn a_container_of_oneshots_ends_with_the_last_one() {
    check(
        "
    delay 2 grace 10
    one oneshot
    two oneshot
    1 one exits 0
    2 two exits 0
    ",
        "
        0.0 s  one       started
        1.0 s  one       exited 0
        1.0 s  two       started
        0.0 s  two       exited 0
        0.0 s  two       ended unasked
        0.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn who_is_disabled_is_started_by_hand_alone() {
    check(
        "
    delay 0 grace 10
    php-fpm fpm
    horizon worker disabled
    nginx web
    5 start horizon
    8 SIGTERM
    8 horizon dies of TERM
    9 nginx exits 0
    9 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        5.0 s  horizon   drainit start
        5.0 s  horizon   started
        0.0 s  SIGTERM   draining, without a delay
        0.0 s  nginx     <- SIGQUIT
        0.0 s  horizon   killed by SIGTERM
        0.0 s  horizon   ended by itself
        1.0 s  nginx     exited 0
        1.0 s  php-fpm   workers <- SIGQUIT
        1.0 s  php-fpm   master <- SIGQUIT
        1.0 s  php-fpm   exited 0
        1.0 s  drainit   exits 0
        ",
    );
}

/// A slip of the hand is no reason to stop.
#[test]
fn who_is_inessential_and_can_not_be_executed_stays_away() {
    check(
        "
    delay 0 grace 10
    nginx web
    horizon worker disabled inessential
    5 start horizon
    5 horizon can't be executed
    8 SIGTERM
    9 nginx exits 0
    ",
        "
        0.0 s  nginx     started
        5.0 s  horizon   drainit start
        5.0 s  horizon   started
        5.0 s  horizon   stays away: not executed after 0.0 s
        0.0 s  SIGTERM   draining, without a delay
        0.0 s  nginx     <- SIGQUIT
        1.0 s  nginx     exited 0
        1.0 s  drainit   exits 0
        ",
    );
}

/// By default a queue worker holds nobody up.
#[test]
fn an_order_that_was_given_binds_what_does_not_listen_too() {
    check(
        "
    delay 0 grace 10
    redis app after none
    php-fpm fpm after none
    queue worker after redis
    nginx web after php-fpm
    5 SIGTERM
    6 nginx exits 0
    6 php-fpm exits 0
    8 queue exits 0
    8 redis exits 0
    ",
        "
        0.0 s  redis     started
        0.0 s  php-fpm   started
        0.0 s  queue     started
        0.0 s  nginx     started
        0.0 s  SIGTERM   draining, without a delay
        0.0 s  queue     <- SIGTERM
        0.0 s  nginx     <- SIGQUIT
        1.0 s  nginx     exited 0
        1.0 s  php-fpm   workers <- SIGQUIT
        1.0 s  php-fpm   master <- SIGQUIT
        1.0 s  php-fpm   exited 0
        3.0 s  queue     exited 0
        3.0 s  redis     <- SIGTERM
        3.0 s  redis     exited 0
        3.0 s  drainit   exits 0
        ",
    );
}

/// Nobody names it, and nobody sends to it.
#[test]
fn a_queue_worker_whose_order_was_given_is_stopped_at_once() {
    check(
        "
    delay 5 grace 30
    migrate oneshot
    php-fpm fpm
    nginx web
    queue worker after migrate
    scheduler worker after none
    1 migrate exits 0
    2 SIGTERM
    3 queue exits 0
    3 scheduler exits 0
    8 nginx exits 0
    8 php-fpm exits 0
    ",
        "
        0.0 s  migrate   started
        0.0 s  scheduler started
        1.0 s  migrate   exited 0
        1.0 s  php-fpm   started
        1.0 s  queue     started
        1.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        0.0 s  queue     <- SIGTERM
        0.0 s  scheduler <- SIGTERM
        1.0 s  queue     exited 0
        1.0 s  scheduler exited 0
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  php-fpm   workers <- SIGQUIT
        6.0 s  php-fpm   master <- SIGQUIT
        6.0 s  php-fpm   exited 0
        6.0 s  drainit   exits 0
        ",
    );
}

/// Then SIGTERM, and a margin later SIGKILL.
#[test]
fn a_stop_timeout_shortens_a_drain() {
    check(
        "
    delay 0 grace 30
    php-fpm fpm stop-timeout 3
    nginx web
    5 php-fpm workers busy
    5 SIGTERM
    7 nginx exits 0
    12 php-fpm dies of KILL
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  SIGTERM   draining, without a delay
        0.0 s  nginx     <- SIGQUIT
        2.0 s  nginx     exited 0
        2.0 s  php-fpm   workers <- SIGQUIT
        5.0 s  php-fpm   <- SIGTERM, forced
        6.0 s  php-fpm   <- SIGKILL, forced
        7.0 s  php-fpm   killed by SIGKILL
        7.0 s  drainit   exits 137
        ",
    );
}

/// Those that can't do without it go first; it has its own time, and nobody waits for a
/// load balancer.
#[test]
fn who_is_stopped_drains_and_stays_away() {
    check(
        "
    delay 5 grace 10
    php-fpm fpm
    nginx web
    queue worker
    3 stop php-fpm
    5 nginx exits 0
    5 php-fpm exits 0
    9 start php-fpm
    9 start nginx
    20 SIGTERM
    20 queue dies of TERM
    25 nginx exits 0
    25 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  queue     started
        3.0 s  php-fpm   drainit stop
        3.0 s  nginx     <- SIGQUIT
        5.0 s  nginx     exited 0
        5.0 s  php-fpm   workers <- SIGQUIT
        5.0 s  php-fpm   master <- SIGQUIT
        5.0 s  php-fpm   exited 0
        9.0 s  php-fpm   drainit start
        9.0 s  php-fpm   started
        9.0 s  nginx     drainit start
        9.0 s  nginx     started
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        0.0 s  queue     <- SIGTERM
        0.0 s  queue     killed by SIGTERM
        5.0 s  nginx     <- SIGQUIT
        5.0 s  nginx     exited 0
        5.0 s  php-fpm   workers <- SIGQUIT
        5.0 s  php-fpm   master <- SIGQUIT
        5.0 s  php-fpm   exited 0
        5.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn who_is_started_anew_comes_back_in_order() {
    check(
        "
    delay 5 grace 10
    php-fpm fpm
    nginx web
    queue worker
    3 restart php-fpm
    5 nginx exits 0
    5.5 php-fpm exits 0
    9 nothing happens
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        0.0 s  queue     started
        3.0 s  php-fpm   drainit restart
        3.0 s  nginx     <- SIGQUIT
        5.0 s  nginx     exited 0
        5.0 s  php-fpm   workers <- SIGQUIT
        5.0 s  php-fpm   master <- SIGQUIT
        5.5 s  php-fpm   exited 0
        5.5 s  php-fpm   started
        5.5 s  nginx     started
        ",
    );
}

/// Web servers first, wherever they stand.
#[test]
fn who_is_stopped_waits_for_a_web_server_that_goes() {
    check(
        "
    delay 5 grace 10
    nginx web
    socket app after nginx
    3 stop nginx
    4 nginx exits 0
    4 socket exits 0
    ",
        "
        0.0 s  nginx     started
        0.0 s  socket    started
        3.0 s  nginx     drainit stop
        3.0 s  nginx     <- SIGQUIT
        4.0 s  nginx     exited 0
        4.0 s  socket    <- SIGTERM
        4.0 s  socket    exited 0
        ",
    );
}

/// It drains as at the end, with a deadline of its own.
#[test]
fn who_is_stopped_and_does_not_end_is_forced() {
    check(
        "
    delay 5 grace 10
    php-fpm fpm
    nginx web
    3 stop nginx
    13 nginx dies of KILL
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        3.0 s  nginx     drainit stop
        3.0 s  nginx     <- SIGQUIT
        11.0 s  nginx     <- SIGTERM, forced
        12.0 s  nginx     <- SIGKILL, forced
        13.0 s  nginx     killed by SIGKILL
        ",
    );
}

#[test]
fn who_ends_while_it_waits_for_its_turn_is_not_missed() {
    check(
        "
    delay 5 grace 10
    php-fpm fpm
    nginx web
    3 restart php-fpm
    4 php-fpm exits 1
    5 nginx exits 0
    9 nothing happens
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        3.0 s  php-fpm   drainit restart
        3.0 s  nginx     <- SIGQUIT
        4.0 s  php-fpm   exited 1
        4.0 s  php-fpm   started
        5.0 s  nginx     exited 0
        5.0 s  nginx     started
        ",
    );
}

#[test]
fn a_stop_request_ends_what_was_asked_for() {
    check(
        "
    delay 5 grace 10
    php-fpm fpm
    nginx web
    3 restart php-fpm
    4 SIGTERM
    5 nginx exits 0
    10 php-fpm exits 0
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        3.0 s  php-fpm   drainit restart
        3.0 s  nginx     <- SIGQUIT
        0.0 s  SIGTERM   lame duck: what listens serves on for 5.0 s
        1.0 s  nginx     exited 0
        5.0 s  php-fpm   workers <- SIGQUIT
        5.0 s  php-fpm   master <- SIGQUIT
        6.0 s  php-fpm   exited 0
        6.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn who_is_stopped_in_a_restart_is_not_started_again() {
    check(
        "
    delay 0 grace 10
    nginx web
    queue worker always
    3 queue exits 1
    3.5 stop queue
    6 start queue
    7 queue exits 1
    7.2 restart queue
    8 nothing happens
    ",
        "
        0.0 s  nginx     started
        0.0 s  queue     started
        3.0 s  queue     exited 1
        3.0 s  queue     starts again in 1.0 s
        3.5 s  queue     drainit stop
        6.0 s  queue     drainit start
        6.0 s  queue     started
        7.0 s  queue     exited 1
        7.0 s  queue     starts again in 1.0 s
        7.2 s  queue     drainit restart
        7.2 s  queue     started
        ",
    );
}

/// It stays in the background, and a stop by hand is no crash.
#[test]
fn a_service_that_was_stopped_is_no_failure_at_the_end() {
    check(
        "
    delay 0 grace 10
    nginx web
    queue worker
    3 stop queue
    3.5 queue exits 7
    5 SIGTERM
    6 nginx exits 0
    ",
        "
        0.0 s  nginx     started
        0.0 s  queue     started
        3.0 s  queue     drainit stop
        3.0 s  queue     <- SIGTERM
        3.5 s  queue     exited 7
        0.0 s  SIGTERM   draining, without a delay
        0.0 s  nginx     <- SIGQUIT
        1.0 s  nginx     exited 0
        1.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn reload_and_reopen_are_for_one() {
    check(
        "
    delay 0 grace 10
    php-fpm fpm
    nginx web
    3 reload nginx
    4 reopen php-fpm
    ",
        "
        0.0 s  php-fpm   started
        0.0 s  nginx     started
        3.0 s  nginx     drainit reload
        3.0 s  nginx     reload
        4.0 s  php-fpm   drainit reopen
        4.0 s  php-fpm   reopen
        ",
    );
}

/// The report says who asked.
#[test]
fn drain_is_a_stop_request() {
    check(
        "
    delay 5 grace 10
    nginx web
    3 drain
    4 drain
    9 nginx exits 0
    ",
        "
        0.0 s  nginx     started
        0.0 s  drainit drain lame duck: what listens serves on for 5.0 s
        1.0 s  drainit drain stopping already
        5.0 s  nginx     <- SIGQUIT
        6.0 s  nginx     exited 0
        6.0 s  drainit   exits 0
        ",
    );
}

#[test]
fn who_is_stopped_while_it_starts_is_asked() {
    check(
        "
    delay 0 grace 10
    cache app
    nginx deaf
    3 stop nginx
    4 nginx exits 0
    5 nothing happens
    ",
        "
        0.0 s  cache     started
        0.0 s  nginx     started
        3.0 s  nginx     drainit stop
        3.0 s  nginx     <- SIGQUIT
        4.0 s  nginx     exited 0
        ",
    );
}

/// A stopped queue worker takes no requests away.
#[test]
fn a_container_is_not_ready_while_what_listens_is_stopped() {
    let health = |story: &str| {
        let services = "
    delay 0 grace 10
    php-fpm fpm
    nginx web
    queue worker
    prepare oneshot
    1 prepare exits 0
    ";
        let script = format!("{services}{story}");
        play_until_the_end_of(&script).machine.health()
    };
    assert_eq!(health("2 nothing happens"), Health::Ready);
    assert_eq!(health("2 restart php-fpm"), Health::Starting);
    assert_eq!(health("2 stop nginx"), Health::Down);
    assert_eq!(health("2 stop nginx\n3 nginx exits 0"), Health::Down);
    assert_eq!(
        health("2 stop nginx\n3 nginx exits 0\n4 start nginx"),
        Health::Ready
    );
    assert_eq!(health("2 stop queue\n3 queue exits 0"), Health::Ready);
}
