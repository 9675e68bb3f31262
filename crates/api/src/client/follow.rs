//! An answer that does not end: what happens as it happens, a line of JSON each, in HTTP/1.1 chunks (RFC 9112, 7.1).

use super::{Client, ClientError};
use crate::ApiError;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;

/// A line or a chunk that is longer is not an agent's.
const LONGEST: u64 = 16 << 20;

/// What an agent tells as it happens. Waits for the next one for as long as the agent runs.
#[derive(Debug)]
pub struct Followed<T> {
    client: Client,
    stream: BufReader<UnixStream>,
    /// What has arrived of lines that are not handed on yet.
    text: Vec<u8>,
    item: PhantomData<T>,
}

impl<T: DeserializeOwned> Followed<T> {
    /// Reads the answer's head; a refusal is an error.
    pub(super) fn begin(client: Client, stream: UnixStream) -> Result<Self, ClientError> {
        stream.set_read_timeout(Some(client.timeout)).map_err(|e| client.failed("read from", e))?;
        let mut followed =
            Self { client, stream: BufReader::new(stream), text: Vec::new(), item: PhantomData };
        let status = followed.line()?;
        let mut length = None;
        let mut chunked = false;
        loop {
            let header = followed.line()?;
            let Some((name, value)) = header.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<u64>().ok();
            }
            chunked |= name.eq_ignore_ascii_case("transfer-encoding") && value.trim() == "chunked";
        }
        match (status.split(' ').nth(1), length) {
            (Some("200"), _) if chunked => {
                let unlimited = followed.stream.get_ref().set_read_timeout(None);
                unlimited.map_err(|e| followed.client.failed("read from", e))?;
                Ok(followed)
            }
            (Some(_), Some(length)) => {
                let mut body = Vec::new();
                let read = followed.stream.by_ref().take(length.min(LONGEST)).read_to_end(&mut body);
                read.map_err(|e| followed.client.failed("read from", e))?;
                let refusal: Result<ApiError, _> = serde_json::from_slice(&body);
                Err(refusal.map_or_else(|e| followed.not_understood(e.to_string()), ClientError::Refused))
            }
            _ => Err(followed.not_understood("it is not a stream".to_owned())),
        }
    }

    fn not_understood(&self, reason: String) -> ClientError {
        ClientError::NotUnderstood { socket: self.client.socket.clone(), reason }
    }

    fn ended(&self) -> ClientError {
        ClientError::Ended { socket: self.client.socket.clone() }
    }

    /// One line of the protocol, without its end.
    fn line(&mut self) -> Result<String, ClientError> {
        let mut line = String::new();
        let read = self.stream.by_ref().take(LONGEST).read_line(&mut line);
        if read.map_err(|e| self.client.failed("read from", e))? == 0 {
            return Err(self.ended());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Reads one chunk into the text; an error at the last, which only an agent that ends sends.
    fn chunk(&mut self) -> Result<(), ClientError> {
        let size = self.line()?;
        match u64::from_str_radix(&size, 16) {
            Ok(0) => Err(self.ended()),
            Ok(size) if size <= LONGEST => {
                let mut chunk = vec![0; usize::try_from(size).unwrap_or_default()];
                let read = self.stream.read_exact(&mut chunk);
                read.map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => self.ended(),
                    _ => self.client.failed("read from", error),
                })?;
                self.line()?;
                self.text.extend(chunk);
                Ok(())
            }
            _ => Err(self.not_understood(format!("{size:?} is no size of a chunk"))),
        }
    }

    fn item(&mut self) -> Result<T, ClientError> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|error| self.not_understood(error.to_string()));
            }
            self.chunk()?;
        }
    }
}

impl<T: DeserializeOwned> Iterator for Followed<T> {
    type Item = Result<T, ClientError>;

    /// The next one. Never none; the first error is the end.
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.item())
    }
}
