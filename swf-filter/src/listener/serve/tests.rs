use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::*;

const ONE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
/// TCP over IPv4, from 192.0.2.1:56324 to 198.51.100.2:443.
const TWO: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

#[tokio::test]
async fn a_header_is_read_to_its_end_and_no_further() {
    for header in [ONE, TWO, LOCAL] {
        for split in 0..header.len() {
            let (mut client, mut server) = pair().await;
            client.set_nodelay(true).unwrap();
            let reading = tokio::spawn(async move {
                let read = read_header(&mut server).await;
                (read.map_err(|error| error.to_string()), server)
            });
            let (before, after) = header.split_at(split);
            client.write_all(before).await.unwrap();
            tokio::task::yield_now().await;
            client.write_all(&[after, b"hello"].concat()).await.unwrap();
            let (read, mut server) = reading.await.unwrap();
            match read.unwrap() {
                Header::Local => assert_eq!(header, LOCAL),
                Header::Proxied { source, .. } => {
                    assert_eq!(source, "192.0.2.1:56324".parse().unwrap());
                }
            }
            let mut rest = [0; 5];
            server.read_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"hello");
        }
    }
}

#[test]
fn never_more_is_wanted_than_there_is() {
    for header in [ONE, TWO, LOCAL] {
        let mut read = 0;
        while read < header.len() {
            let next = wanted(&header[..read]);
            assert!(next > 0 && read + next <= header.len(), "{read} {next}");
            read += next;
        }
    }
}

#[tokio::test]
async fn what_is_no_header_is_refused() {
    let (mut client, mut server) = pair().await;
    client.write_all(&[0x16; 32]).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(10), read_header(&mut server));
    assert!(read.await.unwrap().is_err());
}

#[test]
fn clients_of_an_endpoint_are_not_counted_by_their_balancers_address() {
    let seats = Seats::new(&limits::Limits {
        connections_per_address: 1,
        connections_per_endpoint: 2,
        ..limits::Limits::default()
    });
    let peer = "198.51.100.1:1".parse().unwrap();
    let arrival =
        |endpoint: Option<&str>| Arrival::proxied(peer, peer.ip(), endpoint.map(Into::into));
    let taken = [
        seats.take(&arrival(Some("vpce-1"))),
        seats.take(&arrival(Some("vpce-1"))),
        seats.take(&arrival(Some("vpce-2"))),
        seats.take(&arrival(None)),
    ];
    assert!(taken.iter().all(Result::is_ok));
    let refused = |endpoint| seats.take(&arrival(endpoint)).err();
    assert_eq!(refused(Some("vpce-1")), Some(TurnedAway::TooManyOfEndpoint));
    assert_eq!(refused(None), Some(TurnedAway::TooManyOfAddress));
}
