//! What to do, given what has happened: pure, and the place of every rule about
//! stopping.

pub mod event;
pub mod machine;
pub mod plan;
