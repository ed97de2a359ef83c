//! What is said of a run.

mod advice;
pub mod exit;
pub mod lines;
pub mod logger;
pub mod record;
mod termination;
pub mod text;
pub mod voice;
