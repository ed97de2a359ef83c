//! A drainit.toml of any bytes: one line says what is wrong, or what holds is a file that
//! says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod machine;

fuzz_target!(|bytes: &[u8]| match machine::shown(bytes) {
    Err(why) => assert!(!why.is_empty()),
    Ok(text) => {
        let again = machine::shown(text.as_bytes());
        let values = |text: &str| {
            let lines = text.lines().map(|line| {
                // Behind it stands where it came from.
                line.rsplit_once(" # ")
                    .map_or(line, |(value, _)| value.trim_end())
            });
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        match again {
            Ok(again) => assert_eq!(values(&again), values(&text)),
            Err(why) => panic!("{why}\n{text}"),
        }
    }
});
