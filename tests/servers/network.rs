//! A network of a test's own: what the kernel counts is the network's, whosever
//! connections it counts.

use std::mem;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::panic;
use std::thread;

/// Runs a test where nobody else connects to anybody.
pub(crate) fn alone(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        // What it starts, threads and processes, is in its namespace, too.
        let test = scope.spawn(|| {
            enter();
            test();
        });
        if let Err(panic) = test.join() {
            panic::resume_unwind(panic);
        }
    });
}

/// Has this thread enter a new network namespace, in which loopback works.
fn enter() {
    // SAFETY: takes no memory of ours.
    let entered = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(entered, 0, "a network namespace needs root");
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: it may be all zeros: a name, and numbers.
    let mut loopback: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in loopback.ifr_name.iter_mut().zip(b"lo") {
        *to = (*from).try_into().unwrap();
    }
    loopback.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap();
    // SAFETY: SIOCSIFFLAGS of netdevice(7) reads a `struct ifreq`, which lives.
    let is_up = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &loopback) };
    assert_eq!(is_up, 0, "loopback is down");
}
