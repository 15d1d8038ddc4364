//! A connection to Bookinfo that outlives an agent.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;

use wirespan_tests::PATIENCE;

use crate::bookinfo::next_number;
use crate::stack::Stack;

/// A connection to the front page that is kept from one request to the next.
pub(crate) struct KeptConnection(RefCell<TcpStream>);

impl KeptConnection {
    #[track_caller]
    pub(crate) fn open(stack: &Stack) -> Self {
        let stream = TcpStream::connect(stack.page()).expect("the page listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(stream.into())
    }

    /// Asks on it, which must be answered well; the number that the request has.
    #[track_caller]
    pub(crate) fn ask(&self) -> u32 {
        let number = next_number();
        let stream = &mut *self.0.borrow_mut();
        stream
            .write_all(format!("GET /productpage/{number} HTTP/1.1\r\nHost: productpage\r\n\r\n").as_bytes())
            .expect("the page reads");
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while body_is_missing(&answer) {
            let count = stream.read(&mut piece).expect("the page answers");
            assert!(count > 0, "the page closed the connection");
            answer.extend_from_slice(&piece[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        number
    }
}

/// Whether an answer with `Content-Length` is not complete.
fn body_is_missing(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return true };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
    body.len() < length.expect("the page says how long it is")
}
