//! A client that sees whether an answer is whole, and an upstream that answers
//! when the test says so.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::run::PATIENCE;

/// A connection to a web server, kept as long as that keeps it.
pub(crate) struct Client(BufReader<TcpStream>);

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// `Connection: close`.
    pub(crate) closes: bool,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn connect(address: SocketAddrV4) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// An answer that ends early is an error.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Response> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let mut headers = Vec::new();
        loop {
            match self.line()? {
                line if line.is_empty() => break,
                line => headers.push(line.to_ascii_lowercase()),
            }
        }
        let header = |name: &str| {
            headers
                .iter()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let mut body = Vec::new();
        if let Some(length) = header("content-length") {
            self.read(length.parse().map_err(invalid)?, &mut body)?;
        } else {
            loop {
                let length = usize::from_str_radix(&self.line()?, 16).map_err(invalid)?;
                self.read(length, &mut body)?;
                self.line()?;
                if length == 0 {
                    break;
                }
            }
        }
        Ok(Response {
            status: status
                .split(' ')
                .nth(1)
                .unwrap_or_default()
                .parse()
                .map_err(invalid)?,
            closes: header("connection") == Some("close"),
            body: String::from_utf8(body).map_err(invalid)?,
        })
    }

    /// Whether the server closes the connection without another word.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.0.fill_buf(), Ok([]))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn read(&mut self, length: usize, body: &mut Vec<u8>) -> io::Result<()> {
        let start = body.len();
        body.resize(start + length, 0);
        self.0.read_exact(&mut body[start..])
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Answers `answer to PATH`: at once, or, where the path has `/held` in it,
/// when it is released.
pub(crate) struct Upstream(Arc<(Mutex<Held>, Condvar)>);

#[derive(Default)]
struct Held {
    /// How many have come that nobody has waited for yet.
    new: usize,
    is_released: bool,
}

impl Upstream {
    pub(crate) fn start(ip: Ipv4Addr, port: u16) -> Self {
        let listener = TcpListener::bind((ip, port)).unwrap();
        let held = Arc::<(Mutex<Held>, Condvar)>::default();
        let upstream = Self(Arc::clone(&held));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let held = Arc::clone(&held);
                // Who has gone away needs no answer.
                thread::spawn(move || answer(stream, &held));
            }
        });
        upstream
    }

    /// Waits until a held request has come, one more than before.
    pub(crate) fn wait_for_one_more(&self) {
        let (held, changed) = &*self.0;
        let (mut held, timeout) = changed
            .wait_timeout_while(held.lock().unwrap(), PATIENCE, |held| held.new == 0)
            .unwrap();
        if !timeout.timed_out() {
            held.new -= 1;
        }
        drop(held);
        assert!(!timeout.timed_out(), "no request has reached the upstream");
    }

    /// Answers those that are held, and all that come from now on.
    pub(crate) fn release(&self) {
        let (held, changed) = &*self.0;
        held.lock().unwrap().is_released = true;
        changed.notify_all();
    }
}

fn answer(stream: TcpStream, (held, changed): &(Mutex<Held>, Condvar)) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request)?;
    while stream.read_line(&mut String::new())? > 2 {}
    let path = request.split(' ').nth(1).unwrap_or_default();
    if path.contains("/held") {
        let mut held = held.lock().unwrap();
        held.new += 1;
        changed.notify_all();
        // As long as the test runs, at most.
        let _ = changed
            .wait_timeout_while(held, Duration::from_secs(120), |held| !held.is_released)
            .unwrap();
    }
    let body = format!("answer to {path}");
    let length = body.len();
    let header =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.get_mut().write_all((header + &body).as_bytes())
}
