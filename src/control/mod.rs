//! Control: what other processes of the container ask the drainit that runs in it.
//! Each request is one datagram, and so is its answer; nothing waits in between.

use std::io;

use crate::sys::datagram;

pub mod client;
pub mod protocol;
pub mod server;
pub mod status;

/// The name of the socket, which is that of our container.
fn socket_name() -> io::Result<String> {
    Ok(format!("drainit.{}", datagram::mount_namespace()?))
}
