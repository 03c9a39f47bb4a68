//! The TCP probe: the connection is accepted, and what comes back has the expected text.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connect::{self, Deadline};
use super::{Details, Failure, Phase};
use crate::config::TcpCheck;

/// How much is read and searched, in bytes.
const MAX_READ_BYTES: usize = 65_536;

/// Connects, sends, reads until the text has come, and closes.
pub(super) async fn attempt(
    check: &TcpCheck,
    address: IpAddr,
    deadline: Deadline,
    details: &mut Details,
) -> Result<(), Failure> {
    let address = SocketAddr::new(address, check.port);
    let mut stream = connect::tcp(address, check.source, deadline, &mut details.phases).await?;
    if let Some(send) = &check.send {
        let sent = deadline.within(Phase::Send, stream.write_all(send.as_bytes())).await?;
        sent.map_err(|error| Failure::from_io(&error))?;
    }
    match &check.expect {
        Some(expect) => deadline.within(Phase::Response, find(&mut stream, expect)).await?,
        None => Ok(()),
    }
}

/// Reads until the text has come.
async fn find(stream: &mut TcpStream, expect: &str) -> Result<(), Failure> {
    let mut read = Vec::new();
    let mut searched = 0;
    while read.len() < MAX_READ_BYTES {
        let room = (MAX_READ_BYTES - read.len()) as u64;
        match (&mut *stream).take(room).read_buf(&mut read).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(Failure::from_io(&error)),
        }
        // What was searched before can hold all but the last byte of it.
        let from = searched.min(read.len()).saturating_sub(expect.len());
        if read[from..].windows(expect.len()).any(|window| window == expect.as_bytes()) {
            return Ok(());
        }
        searched = read.len();
    }
    Err(Failure::AnswerLacks { text: super::failure::excerpt(expect), searched_bytes: read.len() })
}
