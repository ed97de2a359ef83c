//! A supervisord.conf of any bytes: it is refused, or what is made of it is a file that
//! drainit reads.
#![no_main]

use drainit::import::{Host, Source, import};
use libfuzzer_sys::fuzz_target;

mod machine;

fuzz_target!(|bytes: &[u8]| {
    let source = Source {
        name: "supervisord.conf",
        directory: "/etc",
        bytes,
    };
    let host = Host {
        variable: &|name| machine::value(name).map(str::to_owned),
        files: &|pattern| vec![(pattern.to_owned(), bytes.to_owned())],
    };
    let Ok(imported) = import(&source, &host) else {
        return;
    };
    assert!(imported.code < 3);
    for remark in &imported.remarks {
        assert!(!remark.contains('\n'), "{remark}");
    }
    // What a variable may hold is known only where it runs.
    if !imported.file.contains("${") {
        if let Err(why) = machine::shown(imported.file.as_bytes()) {
            panic!("{why}\n{}", imported.file);
        }
    }
});
