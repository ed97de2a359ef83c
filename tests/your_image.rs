//! `docs/your-image.md`: the lines for each kind of image, as they stand there,
//! behind a stand-in for that image, started and stopped under load. And what
//! the page says that goes wrong without them.
//!
//! Needs Docker and `make dist`, and fails without.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod containers;

use std::fs;

use containers::{
    Container, Pages, ROOT, Stopped, assert_order, binary_image, build, built, docker, get,
    stop_all_under_load, stop_under_load, wait_until,
};

// --- the page ---------------------------------------------------------------

/// The blocks of lines for a Dockerfile: the heading that each is under, and the
/// stage of `tests/your_image/Dockerfile` that stands in for its image.
const BLOCKS: [(&str, &str); 12] = [
    ("No entrypoint", "plain"),
    ("An entrypoint that looks at its first argument", "nginx"),
    (
        "An entrypoint that looks at its first argument",
        "wordpress",
    ),
    (
        "An entrypoint that looks at its first argument",
        "wordpress",
    ),
    ("An entrypoint that runs any command", "prepared"),
    ("supervisord", "supervisord"),
    ("s6-overlay", "s6-overlay"),
    ("s6-overlay", "s6-overlay"),
    ("USER", "user"),
    ("sudo", "sudo"),
    ("ENTRYPOINT or CMD as a shell line", "shell-form"),
    ("apache", "apache"),
];

/// The page's blocks of that language, each with its heading.
fn blocks(language: &str) -> Vec<(String, String)> {
    let page = fs::read_to_string(format!("{ROOT}/docs/your-image.md")).unwrap();
    let fence = format!("```{language}");
    let mut heading = "";
    let mut block: Option<String> = None;
    let mut blocks = Vec::new();
    for line in page.lines() {
        match &mut block {
            Some(lines) if line == "```" => {
                blocks.push((heading.to_owned(), lines.clone()));
                block = None;
            }
            Some(lines) => {
                lines.push_str(line);
                lines.push('\n');
            }
            None if line == fence => block = Some(String::new()),
            None => heading = line.strip_prefix("## ").unwrap_or(heading),
        }
    }
    blocks
}

/// The stage of `tests/your_image/Dockerfile`, as an image.
fn stand_in(stage: &str) -> String {
    built(&format!("stand-in-{stage}"), |tag| {
        let path = format!("{ROOT}/tests/your_image/Dockerfile");
        let dockerfile = fs::read_to_string(path).unwrap();
        // The first brings the packages, which the others then find.
        built("your-image-base", |tag| {
            build(tag, ".", &["--target", "base"], &dockerfile);
        });
        build(tag, ".", &["--target", stage], &dockerfile);
    })
}

/// What that Dockerfile makes, with the stand-in in the place of its image.
fn image_of(name: &str, stage: &str, dockerfile: &str) -> String {
    let (from, binary) = (stand_in(stage), binary_image());
    built(name, |tag| {
        let (first, rest) = dockerfile.split_once('\n').unwrap();
        assert!(first.starts_with("FROM "), "{dockerfile}");
        let rest = rest.replace("--from=drainit ", &format!("--from={binary} "));
        build(
            tag,
            "tests/your_image",
            &[],
            &format!("FROM {from}\n{rest}"),
        );
    })
}

/// The image that the block of that number makes.
fn image(number: usize) -> String {
    let (_, stage) = BLOCKS.get(number).unwrap();
    let blocks = blocks("Dockerfile");
    let (_, dockerfile) = blocks.get(number).unwrap();
    image_of(&format!("your-image-{number}"), stage, dockerfile)
}

/// Under that heading, the first block or a later one.
fn image_under(heading: &str, which: usize) -> String {
    let numbers = BLOCKS.iter().enumerate();
    let mut its = numbers.filter(|(_, (of, _))| *of == heading);
    image(its.nth(which).unwrap().0)
}

#[test]
fn the_page_has_no_block_that_isnt_built() {
    let headings: Vec<String> = blocks("Dockerfile").into_iter().map(|it| it.0).collect();
    assert_eq!(headings, BLOCKS.map(|(heading, _)| heading));
}

// --- stops ------------------------------------------------------------------

#[track_caller]
fn assert_clean(stopped: &Stopped, log: &str) {
    assert_eq!(stopped.exit_code, 0, "{log}");
    assert!(!log.contains(", forced"), "{log}");
    let warnings: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("drainit: ") && line.contains("warning: "))
        .collect();
    assert!(warnings.is_empty(), "{warnings:?} in:\n{log}");
}

/// Starts nginx and php-fpm, and stops them under load.
#[track_caller]
fn stop_both(options: &[&str], image: &str, words: &[&str], port: u16) -> String {
    let container = Container::start(options, image, words);
    let stopped = stop_under_load(&container, &Pages::php(&container, port));
    let log = container.printed();
    assert_clean(&stopped, &log);
    log
}

/// The order in which drainit stops its own two services.
const IN_ORDER: [&str; 4] = [
    "lame duck",
    "nginx     <- SIGQUIT",
    "php-fpm   workers <- SIGQUIT",
    "exit 0\n",
];

#[test]
fn no_entrypoint() {
    let log = stop_both(&[], &image_under("No entrypoint", 0), &[], 80);
    assert_order(&log, &IN_ORDER);
}

// --- an entrypoint that looks at its first argument -------------------------

const LOOKS: &str = "An entrypoint that looks at its first argument";

#[test]
fn the_script_of_nginx_renders_and_becomes_nginx() {
    let container = Container::start(&[], &image_under(LOOKS, 0), &[]);
    let pages = Pages::without_php(&container);
    let stopped = stop_under_load(&container, &pages);
    let log = container.printed();
    assert_clean(&stopped, &log);
    assert_order(&log, &["SIGQUIT   lame duck", "<- SIGQUIT", "exit 0\n"]);
}

/// Then nothing listens.
#[test]
fn without_its_own_first_argument_that_script_renders_nothing() {
    let image = image_under(LOOKS, 0);
    let behind = ["--entrypoint=/docker-entrypoint.sh"];
    let alone = ["--entrypoint=drainit"];
    for (options, words, is_named) in [(behind, &["drainit"][..], false), (alone, &[], true)] {
        let container = Container::start(&options, &image, words);
        let log = container.log();
        log.wait_for("php-fpm   ready");
        log.wait_for("nginx     started");
        assert_eq!(get(container.address(80), "/robots.txt"), None);
        let says = log.has("/docker-entrypoint.sh is there, and nobody runs it");
        assert_eq!(says, is_named, "{}", log.text());
    }
}

#[test]
fn the_script_of_wordpress_copies_and_becomes_php_fpm() {
    let front = stand_in("plain");
    let pod = Container::start(&["--entrypoint=sleep"], &front, &["infinity"]);
    let network = format!("--network=container:{}", pod.name);
    let php_fpm = Container::start(&[&network], &image_under(LOOKS, 1), &[]);
    let nginx = image_under("No entrypoint", 0);
    let nginx = Container::start(&[&network], &nginx, &["--service=nginx"]);
    let pages = Pages::php(&pod, 80);
    let (address, path, body) = pages.fast;
    wait_until("php-fpm listens", || {
        get(address, path).is_some_and(|answer| answer.ends_with(body))
    });
    let stopped = stop_all_under_load(&[&nginx, &php_fpm], &pages);
    for (container, stopped) in [&nginx, &php_fpm].into_iter().zip(&stopped) {
        assert_clean(stopped, &container.printed());
    }
    let log = php_fpm.printed();
    assert_order(
        &log,
        &["waits until nobody sends to it", "workers <- SIGQUIT"],
    );
}

#[test]
fn the_script_of_wordpress_starts_php_fpm_beside_an_nginx() {
    let log = stop_both(&[], &image_under(LOOKS, 2), &[], 80);
    let start = ["php-fpm   ready", "nginx     started"];
    assert_order(&log, &[&start[..], &IN_ORDER].concat());
}

// --- other scripts and supervisors ------------------------------------------

#[test]
fn a_script_that_runs_any_command_becomes_drainit() {
    let image = image_under("An entrypoint that runs any command", 0);
    let log = stop_both(&[], &image, &[], 80);
    assert_order(&log, &IN_ORDER);
    // As before, another command goes through the script.
    let printed = docker(&[
        "run",
        "--rm",
        &image,
        "head",
        "-1",
        "/var/www/html/index.php",
    ]);
    assert_eq!(printed, "<?php");
}

#[test]
fn in_the_place_of_supervisord() {
    let log = stop_both(&[], &image_under("supervisord", 0), &[], 80);
    assert_order(&log, &IN_ORDER);
}

#[test]
fn as_the_init_of_s6_overlay() {
    let log = stop_both(&[], &image_under("s6-overlay", 0), &[], 80);
    assert_order(&log, &IN_ORDER);
}

/// Its `run` script becomes what runs, and has no handler for SIGTERM.
#[test]
fn the_services_of_s6_overlay_are_those_of_drainit() {
    let log = stop_both(&[], &image_under("s6-overlay", 1), &[], 80);
    assert_order(&log, &["clock     <- SIGTERM"]);
    assert_order(&log, &IN_ORDER);
}

#[test]
fn s6_overlay_behind_drainit_ends_at_once() {
    let from = binary_image();
    let image = image_of(
        "your-image-s6-behind",
        "s6-overlay",
        &format!("FROM it\nCOPY --from={from} /drainit /\nENTRYPOINT [\"/drainit\"]\n"),
    );
    let container = Container::start(&[], &image, &["--", "/init"]);
    assert_eq!(docker(&["wait", &container.name]), "100");
}

// --- users and capabilities -------------------------------------------------

#[test]
fn another_user() {
    let image = image_under("USER", 0);
    let locked_down = ["--cap-drop=ALL", "--security-opt=no-new-privileges"];
    let log = stop_both(&locked_down, &image, &[], 8080);
    assert_order(&log, &IN_ORDER);
}

/// drainit may signal only sudo.
#[test]
fn sudo() {
    let container = Container::start(&[], &image_under("sudo", 0), &[]);
    assert_ne!(docker(&["exec", &container.name, "id", "-u"]), "0");
    let stopped = stop_under_load(&container, &Pages::php(&container, 80));
    let log = container.printed();
    assert_eq!(stopped.exit_code, 0, "{log}");
    assert_order(
        &log,
        &[
            "nginx     sudo <- SIGQUIT, to hand it on",
            "php-fpm   sudo <- SIGQUIT, to hand it on",
            "exit 0\n",
        ],
    );
}

/// The capabilities that the page's `cap_add` names, with `KILL` and without.
#[test]
fn hardened() {
    let blocks = blocks("yaml");
    let (_, yaml) = blocks
        .iter()
        .find(|it| it.0 == "Hardened containers")
        .unwrap();
    let (_, names) = yaml.split_once("cap_add: [").unwrap();
    let (names, _) = names.split_once(']').unwrap();
    assert!(names.contains("KILL"), "{yaml}");
    let image = image_under("No entrypoint", 0);
    for without in ["", "KILL"] {
        let added = names.split(", ").filter(|name| *name != without);
        let mut options: Vec<String> = added.map(|name| format!("--cap-add={name}")).collect();
        options.push("--cap-drop=ALL".to_owned());
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let log = stop_both(&options, &image, &[], 80);
        assert_order(&log, &IN_ORDER);
    }
}

// --- shell lines and apache -------------------------------------------------

#[test]
fn a_shell_line() {
    let image = image_under("ENTRYPOINT or CMD as a shell line", 0);
    let log = stop_both(&[], &image, &[], 80);
    assert_order(
        &log,
        &["lame duck", "<- SIGQUIT", "workers <- SIGQUIT", "exit 0\n"],
    );
}

#[test]
fn apache() {
    let container = Container::start(&[], &image_under("apache", 0), &[]);
    let stopped = stop_under_load(&container, &Pages::php(&container, 80));
    let log = container.printed();
    assert_clean(&stopped, &log);
    assert_order(&log, &["SIGWINCH  lame duck", "<- SIGWINCH", "exit 0\n"]);
}

// --- podman -----------------------------------------------------------------

/// What podman does where the processes are those of the host: all of a container
/// get its stop signal. Here `docker stop` signals PID 1, and a shell the others,
/// just before that.
#[test]
fn a_stop_signal_for_everybody_that_only_drainit_knows() {
    let page = blocks("sh");
    let (_, line) = page
        .iter()
        .find(|(_, line)| line.contains("--pid=host"))
        .unwrap();
    let options: Vec<&str> = line
        .split_whitespace()
        .skip_while(|word| *word != "--stop-signal")
        .take_while(|word| *word != "IMAGE")
        .collect();
    let signal = options.get(1).unwrap().strip_prefix("SIG").unwrap();
    let container = Container::start(&options, &image_under("No entrypoint", 0), &[]);
    let pages = Pages::php(&container, 80);
    let everybody = format!("kill -{signal} -1");
    docker(&["exec", &container.name, "sh", "-c", &everybody]);
    let stopped = stop_under_load(&container, &pages);
    let log = container.printed();
    assert_clean(&stopped, &log);
    assert_order(&log, &IN_ORDER);
}
