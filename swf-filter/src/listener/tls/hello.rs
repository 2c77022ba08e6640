//! Reads a `ClientHello`, however it is cut into packets and records, and says no to it in TLS's own words.
//!
//! tokio-rustls's `LazyConfigAcceptor` does the same, but sends the alert that rustls chooses: a client of TLS 1.1 would be
//! told of its signatures, and a client that asks for a name that is not there would be told that its access is denied.

use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{Error, PeerIncompatible};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Refusal;

/// Alerts that rustls does not send by itself (RFC 8446, 6.2).
#[derive(Clone, Copy)]
pub(super) enum Alert {
    /// The version is not spoken here.
    ProtocolVersion = 70,
    /// There is no server of that name.
    UnrecognizedName = 112,
}

/// Reads up to the end of the `ClientHello`.
pub(super) async fn read<IO>(stream: &mut IO) -> Result<Accepted, Refusal>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor = Acceptor::default();
    let mut bytes = Vec::with_capacity(READ);
    loop {
        let before = bytes.len();
        let count = stream.read_buf(&mut bytes).await;
        if !count.is_ok_and(|count| count > 0) {
            return Err(if bytes.is_empty() {
                Refusal::Probe
            } else {
                Refusal::Closed
            });
        }
        // rustls takes 64 KiB of a message at most, and says so when asked below.
        let mut rest = &bytes[before..];
        // To read where nothing is left would tell rustls that the peer has ended.
        while !rest.is_empty() && acceptor.read_tls(&mut rest).is_ok_and(|count| count > 0) {}
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) if rest.is_empty() => {}
            Ok(None) => {
                return Err(Refusal::Other(Error::PeerSentOversizedRecord));
            }
            Err((error, alert)) => return Err(refuse(stream, &bytes, error, alert).await),
        }
    }
}

/// Sends an alert, and ends what is sent. That the peer may be gone changes nothing.
pub(super) async fn send<IO: AsyncWrite + Unpin>(stream: &mut IO, alert: Alert) {
    // A record of two bytes: fatal, and what for. Its version is that of all records (RFC 8446, 5.1).
    end(stream, &[21, 3, 3, 0, 2, 2, alert as u8]).await;
}

/// Sends the alert that rustls chose, and ends what is sent.
pub(super) async fn send_chosen<IO: AsyncWrite + Unpin>(stream: &mut IO, mut alert: AcceptedAlert) {
    let mut bytes = Vec::new();
    if alert.write_all(&mut bytes).is_ok() {
        end(stream, &bytes).await;
    }
}

async fn end<IO: AsyncWrite + Unpin>(stream: &mut IO, bytes: &[u8]) {
    if stream.write_all(bytes).await.is_ok() {
        let _gone_already = stream.shutdown().await;
    }
}

async fn refuse<IO: AsyncWrite + Unpin>(
    stream: &mut IO,
    bytes: &[u8],
    error: Error,
    alert: AcceptedAlert,
) -> Refusal {
    // `signature_algorithms` came with TLS 1.2. rustls misses it before it looks at the version.
    let unsigned = Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired);
    if error == unsigned && version(bytes).is_some_and(|version| version < TLS_1_2) {
        send(stream, Alert::ProtocolVersion).await;
        return Refusal::TooOld;
    }
    send_chosen(stream, alert).await;
    Refusal::from_tls(error, &[])
}

/// The version in a `ClientHello`, which may begin in one record and go on in another.
fn version(mut bytes: &[u8]) -> Option<[u8; 2]> {
    let mut hello = Vec::new();
    while hello.len() < VERSION_AT + 2 {
        // A type, a version, the length, and so many bytes (RFC 8446, 5.1).
        let (&[_, _, _, high, low], rest) = bytes.split_first_chunk()?;
        let (record, rest) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
        hello.extend(record);
        bytes = rest;
    }
    hello[VERSION_AT..].first_chunk().copied()
}

/// After the message's type and its length of three bytes (RFC 8446, 4).
const VERSION_AT: usize = 4;

/// As it is sent (RFC 5246, 6.2.1).
const TLS_1_2: [u8; 2] = [3, 3];

/// What is read at once: a `ClientHello` with a post-quantum key is some 1700 bytes.
const READ: usize = 2048;
