//! The two replies of Neptune's that are protocol buffers. `None` is one that is something else, or was cut off.

use crate::protobuf::{Field, Fields};

/// What became of so many values of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Code {
    /// As gRPC numbers them: 0 is well, 14 not yet done.
    pub(super) code: u64,
    pub(super) count: u64,
    /// Neptune's own number for it.
    pub(super) detail: u64,
}

/// `SubmitResponse`: by which id to ask what became of a request.
pub(super) fn request_id(reply: &[u8]) -> Option<String> {
    let ids = Fields(reply).filter_map(|field| match field {
        Field::Bytes(1 | 2, id) => Some(id),
        _ => None,
    });
    let id = std::str::from_utf8(ids.last()?).ok()?;
    // A page of a proxy's may begin like a field.
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic())).then(|| id.to_owned())
}

/// `BulkRequestStatus` of one request.
pub(super) fn status(reply: &[u8]) -> Option<Vec<Code>> {
    let status = first_message(Fields(reply))?;
    let by_count = Fields(status).filter_map(|field| match field {
        Field::Bytes(1, by_count) => Some(by_count),
        _ => None,
    });
    let codes = by_count.map(|by_count| {
        let mut code = Code::default();
        for field in Fields(by_count) {
            match field {
                Field::Number(1, number) => code.code = number,
                Field::Number(2, number) => code.count = number,
                Field::Number(3, number) => code.detail = number,
                _ => {}
            }
        }
        code
    });
    Some(codes.collect::<Vec<_>>()).filter(|codes| !codes.is_empty())
}

fn first_message<'a>(mut fields: Fields<'a>) -> Option<&'a [u8]> {
    fields.find_map(|field| match field {
        Field::Bytes(1, message) => Some(message),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::protobuf::Message;

    const PAGE: &[u8] = b"\n<html>\n<head><title>Sign in to the network of this hotel</title></head></html>";

    #[test]
    fn replies_are_read() {
        let mut reply = Vec::new();
        Message::new(&mut reply).string(1, "first").string(2, "first").string(2, "last").double(9, 1.0).float(8, 1.0);
        assert_eq!(request_id(&reply).unwrap(), "last");
        let mut reply = Vec::new();
        Message::new(&mut reply).message(1, |status| {
            let mut code = |code, count, detail| {
                status.message(1, |by_count| {
                    by_count.varint(1, code).varint(2, count).varint(3, detail);
                });
            };
            code(0, 300, 0);
            code(6, 1, 24);
            status.string(2, "why");
        });
        let codes = [Code { code: 0, count: 300, detail: 0 }, Code { code: 6, count: 1, detail: 24 }];
        assert_eq!(status(&reply).unwrap(), codes);
        // Cut anywhere it is none, or says less.
        for end in 0..reply.len() {
            assert_eq!(status(&reply[..end]), None, "{end}");
        }
        assert_eq!((request_id(b""), request_id(PAGE), status(PAGE), status(b"{}")), (None, None, None, None));
    }
}
