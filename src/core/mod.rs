//! What to do, given what has happened: pure, and the place of every rule about
//! stopping.

mod backoff;
mod drain;
pub mod event;
pub mod machine;
pub mod plan;
mod service;
mod stop;
