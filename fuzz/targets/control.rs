//! What other processes send: a request, and to clients an answer.
#![no_main]

use drainit::control::protocol::{Answer, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()), Some(request));
    }
    let answer = Answer::decode(bytes);
    if let Answer::Status(status) = &answer {
        // What of it is shown, too.
        let _ = (status.table(), status.json());
    }
    let again = Answer::decode(&answer.encode());
    assert_eq!(Answer::decode(&again.encode()), again);
});
