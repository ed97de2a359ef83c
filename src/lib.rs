//! drainit: a PID 1 for containers that stops nginx and php-fpm without
//! dropping a request.
pub mod cli;
pub mod config;
pub mod exit;
pub mod logger;
pub mod machine;
pub mod preset;
pub mod report;
pub mod signal;
pub mod supervisor;
pub mod sys;
mod words;
