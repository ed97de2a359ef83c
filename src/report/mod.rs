//! What is said of a run.

pub mod exit;
pub mod logger;
pub mod record;
pub mod text;
