//! Gathers the frames of a body into pieces of one size.
//!
//! Network frames are anything from a byte to most of a megabyte; storage wants large, equal writes.
//! Invariant: pieces carry the body's bytes in order, each but the last fills its buffer, and at most
//! one piece is held here. This file must not know where the pieces go.

use super::buffers::{Buffer, Buffers, SMALL};
use super::stream::{ByteStream, StreamError};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

/// Pieces that may wait for the writer, which takes all of them at once. With one here and as many being
/// written, an upload holds five.
pub(super) const WAITING: usize = 2;

/// How a body ended.
#[derive(Debug)]
pub(super) enum End {
    /// It broke off.
    Broken(StreamError),
    /// All of it came, or the writer hung up and knows why.
    Complete,
    /// The next frame would have made the upload longer than this.
    TooLarge(u64),
}

/// Bytes copied in before others may have the thread and the processor.
const AT_A_TIME: usize = 64 << 10;

/// Sends a body to `writer` in pieces, and whatever came before a premature end too. `start` is the
/// length of the upload so far and `most` how long it may become.
pub(super) async fn gather(
    mut body: ByteStream,
    start: u64,
    most: Option<u64>,
    buffers: &Buffers,
    writer: &mpsc::Sender<Buffer>,
) -> End {
    let mut piece = Buffer::own(0);
    let (mut length, mut copied) = (start, 0);
    let end = loop {
        if copied >= AT_A_TIME {
            give_way().await;
            copied = 0;
        }
        let mut frame = match body.next().await {
            None => break End::Complete,
            Some(Err(error)) => break End::Broken(error),
            Some(Ok(frame)) => frame,
        };
        // usize to u64 does not lose on any target that has files this large.
        length = length.saturating_add(frame.len() as u64);
        if let Some(most) = most
            && length > most
        {
            break End::TooLarge(most);
        }
        copied += frame.len();
        while !frame.is_empty() {
            if piece.room() == 0 {
                piece = next_buffer(piece, frame.len(), buffers);
            }
            let part = frame.split_to(frame.len().min(piece.room()));
            piece.extend_from_slice(&part);
            if piece.room() == 0 && piece.len() >= SMALL {
                let full = std::mem::replace(&mut piece, Buffer::own(0));
                if writer.send(full).await.is_err() {
                    return End::Complete;
                }
            }
        }
    };
    if !piece.is_empty() {
        // A writer that hung up reports its own error.
        let _ = writer.send(piece).await;
    }
    end
}

/// Lets others go first: requests that wait for this thread of the runtime, and threads that wait for
/// this processor. A body that comes faster than it is written would otherwise be copied in for tenths of
/// a millisecond at a time, and who asks for a manifest waits so long, several times.
async fn give_way() {
    std::thread::yield_now();
    tokio::task::yield_now().await;
}

/// A body of one small frame gets a small buffer; a second frame means there is more to come.
fn next_buffer(full: Buffer, more: usize, buffers: &Buffers) -> Buffer {
    if full.is_empty() && more < SMALL {
        return Buffer::own(more);
    }
    let mut next = buffers.take();
    next.extend_from_slice(&full);
    next
}

#[cfg(test)]
mod tests {
    use super::super::buffers::LARGE;
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    async fn pieces(
        frames: Vec<Result<Bytes, &'static str>>,
        most: Option<u64>,
    ) -> (Vec<Vec<u8>>, End) {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let body = ByteStream::new(futures_util::stream::iter(frames));
        let gathered =
            tokio::spawn(async move { gather(body, 0, most, &Buffers::default(), &sender).await });
        let mut pieces = Vec::new();
        while let Some(piece) = receiver.recv().await {
            assert!(piece.capacity() <= LARGE, "a piece holds no more memory than its size");
            pieces.push(piece.to_vec());
        }
        (pieces, gathered.await.expect("gathering does not panic"))
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn pieces_are_equal_and_carry_the_body_in_order(
            sizes in prop::collection::vec(0..3 * LARGE, 0..8),
        ) {
            let frames: Vec<Bytes> = (1u8..).zip(&sizes).map(|(n, size)| vec![n; *size].into()).collect();
            let body = frames.concat();
            let (pieces, end) = runtime().block_on(pieces(frames.into_iter().map(Ok).collect(), None));
            prop_assert!(matches!(end, End::Complete));
            if let Some((last, before)) = pieces.split_last() {
                prop_assert!(before.iter().all(|piece| piece.len() == LARGE));
                prop_assert!(!last.is_empty());
            }
            prop_assert_eq!(pieces.concat(), body);
        }
    }

    #[tokio::test]
    async fn what_came_before_a_break_is_passed_on() {
        let (pieces, end) = pieces(vec![Ok("ab".into()), Ok("c".into()), Err("gone")], None).await;
        assert_eq!(pieces, [b"abc"]);
        assert!(matches!(end, End::Broken(_)));
    }

    #[tokio::test]
    async fn the_frame_that_is_too_much_and_all_after_it_are_left_out() {
        let (pieces, end) =
            pieces(vec![Ok("ab".into()), Ok("cd".into()), Ok("e".into())], Some(3)).await;
        assert_eq!(pieces, [b"ab"]);
        assert!(matches!(end, End::TooLarge(3)));
    }
}
