//! Any bytes as a PROXY header, with what follows it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use swf_filter_core::proxy_header::{Header, MAX, read};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some((header, length))) = read(bytes) else {
        return;
    };
    assert!(length <= bytes.len() && length <= MAX);
    // It never asks for a byte of the client's, and what follows does not change what it says.
    for beginning in 0..length {
        assert_eq!(read(&bytes[..beginning]), Ok(None));
    }
    assert_eq!(read(&bytes[..length]), Ok(Some((header.clone(), length))));
    if let Header::Proxied {
        source,
        destination,
        endpoint,
    } = header
    {
        assert_eq!(source.ip(), source.ip().to_canonical());
        assert_eq!(destination.ip(), destination.ip().to_canonical());
        assert!(endpoint.is_none_or(|id| id.starts_with("vpce-")));
    }
});
