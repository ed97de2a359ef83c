//! What holds, as a file of ours that says where each value came from.

use std::fmt::Write as _;

use super::cli::{Cli, OPTIONS};
use super::file::{SERVICE_KEYS, Shape, option};
use super::reader::{Held, Origin};
use super::value::Error;
use super::{Host, Resolved, resolve};
use crate::json;

/// The column in which it is said where a value came from.
const ORIGIN_AT: usize = 40;

/// Makes sense of all that was given, and writes it as a file.
pub fn show(cli: Cli, host: &Host) -> Result<String, Error> {
    let Resolved {
        config,
        options,
        services,
    } = resolve(cli, host)?;
    let platform = config.platform.name;
    let mut text = String::new();
    let keys = OPTIONS.iter().filter_map(|it| option(it.name));
    add(&mut text, keys, &options, platform);
    for service in &services {
        text.push_str("\n[[service]]\n");
        add(&mut text, SERVICE_KEYS.into_iter(), service, platform);
    }
    Ok(text)
}

fn add(
    text: &mut String,
    keys: impl Iterator<Item = (&'static str, Shape)>,
    all: &[Held],
    platform: &str,
) {
    for (key, shape) in keys {
        let Some(held) = all.iter().find(|held| held.name == key) else {
            continue;
        };
        let is_default = held.origin == Origin::Default;
        if held.values.is_empty() && (is_default || shape == Shape::One) {
            continue;
        }
        // One that is given binds at the stop, too.
        let comment = if is_default && key == "after" {
            "# "
        } else {
            ""
        };
        let line = format!("{comment}{key} = {}", value(held, shape));
        let origin = origin(held, platform);
        let _ = writeln!(text, "{line:ORIGIN_AT$} # {origin}");
    }
}

fn origin(held: &Held, platform: &str) -> String {
    match &held.origin {
        Origin::File(_, place) => format!("{}:{}", place.file, place.line),
        Origin::Default if ["delay", "grace-period", "termination-log"].contains(&held.name) => {
            format!("default of {platform}")
        }
        Origin::Default => "default".to_owned(),
        other => other.to_string(),
    }
}

fn value(held: &Held, shape: Shape) -> String {
    let values = held.values.iter();
    match shape {
        Shape::One => values.map(|it| scalar(&it.text)).collect(),
        Shape::List => {
            let all: Vec<String> = values.map(|it| scalar(&it.text)).collect();
            format!("[{}]", all.join(", "))
        }
        Shape::Table => {
            let pair = |it: &super::reader::Given| {
                format!("{} = {}", json::string(&it.name), scalar(&it.text))
            };
            let all: Vec<String> = values.map(pair).collect();
            format!("{{ {} }}", all.join(", "))
        }
    }
}

/// Without quotes where it is a number or a truth.
fn scalar(text: &str) -> String {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() < 18;
    let is_written_so = text == "0" || !text.starts_with('0') && !text.is_empty();
    if is_number && is_written_so || text == "true" || text == "false" {
        return text.to_owned();
    }
    // A dollar would begin a variable.
    json::string(&text.replace('$', "$$"))
}
