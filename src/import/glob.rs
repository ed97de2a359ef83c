//! Python's `fnmatch`, as far as `[include]` needs it.

/// Whether a file's name matches a pattern of `*`, `?`, `[a-z]` and `[!a-z]`. A name
/// that begins with a dot is matched only by a pattern that does.
pub fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where the last * stands, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = name.get(n) {
        match one(pattern.get(p..).unwrap_or_default(), *c) {
            Some(length) => {
                p += length;
                n += 1;
            }
            None if pattern.get(p) == Some(&'*') => {
                star = Some((p, n));
                p += 1;
            }
            None => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, n) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    let rest = pattern.get(p..).unwrap_or_default();
    rest.iter().all(|c| *c == '*')
}

/// How long the part of the pattern is that stands for this character; `None` where it
/// stands for another one, or for several.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['*', ..] | [] => None,
        ['?', ..] => Some(1),
        ['[', rest @ ..] => {
            let negated = rest.first() == Some(&'!');
            let start = usize::from(negated);
            // A ] that stands first is one of them.
            let end = rest.iter().skip(start + 1).position(|it| *it == ']');
            let Some(end) = end.map(|end| end + start + 1) else {
                return (c == '[').then_some(1);
            };
            let set = rest.get(start..end).unwrap_or_default();
            (is_in(set, c) != negated).then_some(end + 2)
        }
        [literal, ..] => (*literal == c).then_some(1),
    }
}

fn is_in(mut set: &[char], c: char) -> bool {
    loop {
        match set {
            [first, '-', last, rest @ ..] => {
                if (*first..=*last).contains(&c) {
                    return true;
                }
                set = rest;
            }
            [one, rest @ ..] => {
                if *one == c {
                    return true;
                }
                set = rest;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn names_match_as_fnmatch_says() {
        for (pattern, name) in [
            ("*.conf", "a.conf"),
            ("*", "a"),
            ("a?c*", "abc"),
            ("[0-9]*-[!a]*.ini", "10-b.ini"),
            ("*a*b", "xaxbxab"),
            ("[]]", "]"),
            ("[", "["),
            (".*", ".a"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.conf", "a.conf~"),
            ("*.conf", ".a.conf"),
            ("[a-c]", "d"),
            ("[!a]", "a"),
            ("a", "ab"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
