//! The words of Supervisor's file.

/// The keys of a `[program:x]`, and of an `[eventlistener:x]`.
const PROGRAM: [&str; 35] = [
    "autorestart",
    "autostart",
    "buffer_size",
    "command",
    "directory",
    "environment",
    "events",
    "exitcodes",
    "killasgroup",
    "numprocs",
    "numprocs_start",
    "priority",
    "process_name",
    "redirect_stderr",
    "result_handler",
    "serverurl",
    "startretries",
    "startsecs",
    "stderr_capture_maxbytes",
    "stderr_events_enabled",
    "stderr_logfile",
    "stderr_logfile_backups",
    "stderr_logfile_maxbytes",
    "stderr_syslog",
    "stdout_capture_maxbytes",
    "stdout_events_enabled",
    "stdout_logfile",
    "stdout_logfile_backups",
    "stdout_logfile_maxbytes",
    "stdout_syslog",
    "stopasgroup",
    "stopsignal",
    "stopwaitsecs",
    "umask",
    "user",
];

/// The keys of `[supervisord]`.
const SUPERVISORD: [&str; 18] = [
    "childlogdir",
    "directory",
    "environment",
    "identifier",
    "logfile",
    "logfile_backups",
    "logfile_maxbytes",
    "loglevel",
    "minfds",
    "minprocs",
    "nocleanup",
    "nodaemon",
    "pidfile",
    "profile_options",
    "silent",
    "strip_ansi",
    "umask",
    "user",
];

/// The keys that a section of this name may have; `None` where they aren't looked at.
pub(super) fn keys(section: &str) -> Option<&'static [&'static str]> {
    match section.split_once(':').map_or(section, |it| it.0) {
        "program" | "eventlistener" => Some(&PROGRAM),
        "supervisord" => Some(&SUPERVISORD),
        "group" => Some(&["priority", "programs"]),
        "include" => Some(&["files"]),
        _ => None,
    }
}

/// Whether a program may have such a key.
pub(super) fn is_key(key: &str) -> bool {
    PROGRAM.contains(&key)
}

/// Whether supervisord, or its client, looks at a section of that name.
pub(super) fn is_section(name: &str) -> bool {
    match name.split_once(':') {
        Some((kind, _)) => [
            "program",
            "group",
            "eventlistener",
            "fcgi-program",
            "rpcinterface",
            "ctlplugin",
            "unix_http_server",
            "inet_http_server",
        ]
        .contains(&kind),
        None => [
            "DEFAULT",
            "include",
            "inet_http_server",
            "supervisorctl",
            "supervisord",
            "unix_http_server",
        ]
        .contains(&name),
    }
}
