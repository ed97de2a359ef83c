//! A site of its own for each test: nginx, php-fpm, their configuration, their
//! pages, and the upstream that the pages wait for.
//!
//! Sites don't clash: each has a directory and a loopback address of its own.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, JoinHandle};

use crate::http::{Client, Response, Upstream};
use crate::run::Launch;

const PAGES: [(&str, &str); 4] = [
    ("hello.txt", "hello from a file"),
    ("hello.php", include_str!("pages/hello.php")),
    ("slow.php", include_str!("pages/slow.php")),
    ("late.php", include_str!("pages/late.php")),
];

pub(crate) const NGINX_PORT: u16 = 8080;
const PHP_FPM_PORT: u16 = 9000;
pub(crate) const UPSTREAM_PORT: u16 = 7000;

/// How php-fpm runs its workers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pm {
    Static,
    Dynamic,
    Ondemand,
}

/// Where php-fpm listens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Listen {
    Tcp,
    Unix,
}

/// What differs between sites.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) pm: Pm,
    pub(crate) listen: Listen,
    /// Seconds; php-fpm's default is 0.
    pub(crate) process_control_timeout: u32,
    pub(crate) max_children: u32,
    /// Lines for nginx's `server {}`.
    pub(crate) in_server: &'a str,
    /// And for each `location {}` of it.
    pub(crate) in_location: &'a str,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            pm: Pm::Static,
            listen: Listen::Unix,
            process_control_timeout: 0,
            max_children: 4,
            in_server: "",
            in_location: "",
        }
    }
}

pub(crate) struct Site {
    pub(crate) dir: PathBuf,
    pub(crate) upstream: Upstream,
    pub(crate) ip: Ipv4Addr,
}

impl Site {
    pub(crate) fn new(setup: &Setup) -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let [.., high, low] = pid.to_be_bytes();
        let ip = Ipv4Addr::new(127, high, low, count);
        let dir = std::env::temp_dir().join(format!("drainit-{pid}-{count}"));
        for directory in ["www", "results", "nginx"] {
            fs::create_dir_all(dir.join(directory)).unwrap();
        }
        // Workers run as another user.
        for (directory, mode) in [("", 0o755), ("results", 0o777)] {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(dir.join(directory), permissions).unwrap();
        }
        for (name, page) in PAGES {
            fs::write(dir.join("www").join(name), page).unwrap();
        }
        let site = Self {
            upstream: Upstream::start(ip, UPSTREAM_PORT),
            dir,
            ip,
        };
        site.configure(setup);
        site
    }

    /// Writes both servers' configuration.
    pub(crate) fn configure(&self, setup: &Setup) {
        let Self { dir, ip, .. } = self;
        let dir = dir.display();
        let Setup {
            process_control_timeout,
            max_children,
            in_server,
            in_location,
            ..
        } = setup;
        let (listen, fastcgi) = match setup.listen {
            Listen::Tcp => {
                let address = format!("{ip}:{PHP_FPM_PORT}");
                (address.clone(), address)
            }
            Listen::Unix => (
                format!("{dir}/php-fpm.sock"),
                format!("unix:{dir}/php-fpm.sock"),
            ),
        };
        let pm = match setup.pm {
            Pm::Static => "static".to_owned(),
            // All at once: it adds but a few a second.
            Pm::Dynamic => format!(
                "dynamic\n\
                 pm.start_servers = {max_children}\n\
                 pm.min_spare_servers = 1\n\
                 pm.max_spare_servers = {max_children}"
            ),
            Pm::Ondemand => "ondemand".to_owned(),
        };
        self.write(
            "php-fpm.conf",
            &format!(
                "\
[global]
pid = {dir}/php-fpm.pid
error_log = {dir}/php-fpm.log
process_control_timeout = {process_control_timeout}
[www]
user = www-data
group = www-data
listen = {listen}
listen.mode = 0666
pm = {pm}
pm.max_children = {max_children}
chdir = {dir}
php_admin_value[default_socket_timeout] = 120
"
            ),
        );
        self.write(
            "nginx.conf",
            &format!(
                "\
user www-data;
worker_processes 2;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log;
events {{}}
http {{
    access_log {dir}/access.log;
    client_body_temp_path {dir}/nginx/body;
    fastcgi_temp_path {dir}/nginx/fastcgi;
    proxy_temp_path {dir}/nginx/proxy;
    scgi_temp_path {dir}/nginx/scgi;
    uwsgi_temp_path {dir}/nginx/uwsgi;
    server {{
        listen {ip}:{NGINX_PORT};
        root {dir}/www;
        {in_server}
        location / {{
            {in_location}
        }}
        location ~ \\.php$ {{
            {in_location}
            fastcgi_pass {fastcgi};
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
            fastcgi_param UPSTREAM {ip}:{UPSTREAM_PORT};
            fastcgi_param RESULTS {dir}/results;
        }}
        location /proxied/ {{
            {in_location}
            proxy_pass http://{ip}:{UPSTREAM_PORT};
        }}
    }}
}}
"
            ),
        );
    }

    pub(crate) fn drainit(&self) -> Launch<'_> {
        Launch::new(self)
    }

    /// A file or directory of this site, as words have it.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).into_os_string().into_string().unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), text).unwrap();
    }

    /// An executable file; returns its path.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        self.write(name, text);
        let path = self.path(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    pub(crate) fn marker(&self) -> String {
        self.path("draining")
    }

    pub(crate) fn php_fpm_command(&self) -> String {
        format!("{} -y {}", php_fpm(), self.path("php-fpm.conf"))
    }

    pub(crate) fn nginx_command(&self) -> String {
        format!("{} -c {}", nginx(), self.path("nginx.conf"))
    }

    pub(crate) fn connect(&self) -> io::Result<Client> {
        Client::connect(SocketAddrV4::new(self.ip, NGINX_PORT))
    }

    pub(crate) fn get(&self, path: &str) -> io::Result<Response> {
        self.connect()?.get(path)
    }

    /// Asks for the slow page, that often; when this returns, each waits for
    /// the upstream.
    pub(crate) fn ask_slowly(&self, count: usize) -> Slow {
        let ask = |number| {
            let request = self.ask(number);
            // One after the other: with pm = ondemand those that come at once
            // make php-fpm start but one worker.
            self.upstream.wait_for_one_more();
            request
        };
        Slow((0..count).map(ask).collect())
    }

    /// Asks for the slow page, that often, all at once.
    pub(crate) fn ask_slowly_at_once(&self, count: usize) -> Slow {
        Slow((0..count).map(|number| self.ask(number)).collect())
    }

    fn ask(&self, number: usize) -> JoinHandle<io::Result<Response>> {
        // Connected before nginx is asked to stop.
        let mut client = self.connect().unwrap();
        thread::spawn(move || client.get(&format!("/slow.php?{number}")))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if thread::panicking() {
            for log in ["nginx.log", "php-fpm.log"] {
                let text = fs::read_to_string(self.dir.join(log)).unwrap_or_default();
                eprintln!("--- {log}\n{text}");
            }
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Requests for the slow page that are under way.
pub(crate) struct Slow(Vec<JoinHandle<io::Result<Response>>>);

impl Slow {
    /// Each is answered, and whole.
    pub(crate) fn are_whole(self) {
        for (number, response) in self.0.into_iter().enumerate() {
            let response = response.join().unwrap();
            let response = response.unwrap_or_else(|error| panic!("request {number}: {error}"));
            let expected = format!(
                "{}{}answer to /held?{number}",
                "a".repeat(50_000),
                "b".repeat(50_000)
            );
            let Response { status, body, .. } = &response;
            assert_eq!((*status, body.len()), (200, expected.len()), "{number}");
            assert!(*body == expected, "request {number} has another's answer");
        }
    }

    /// Each is cut.
    pub(crate) fn are_cut(self) {
        for response in self.0 {
            let response = response.join().unwrap();
            assert!(response.is_err(), "{response:?}");
        }
    }
}

pub(crate) fn nginx() -> String {
    find(|name| name == "nginx")
}

/// `php-fpm`, or with a version behind it.
pub(crate) fn php_fpm() -> String {
    find(|name| {
        name.strip_prefix("php-fpm")
            .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
    })
}

fn find(is_it: fn(&str) -> bool) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/local/sbin", "/usr/sbin"])
        .filter_map(|directory| Path::new(directory).read_dir().ok())
        .flatten()
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_str().is_some_and(is_it))
        .expect("nginx and php-fpm are installed")
        .path()
        .into_os_string()
        .into_string()
        .unwrap()
}

/// What a program says of its configuration, on standard error.
pub(crate) fn says(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}
