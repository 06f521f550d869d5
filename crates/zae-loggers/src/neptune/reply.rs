//! The two replies of Neptune's that are protocol buffers. `None` is one that is something else, or was cut off.

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
    let (mut one, mut last) = (None, None);
    for field in fields(reply)? {
        match field {
            (1, Field::Bytes(id)) => one = Some(id),
            (2, Field::Bytes(id)) => last = Some(id),
            _ => {}
        }
    }
    let id = std::str::from_utf8(last.or(one)?).ok()?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// `BulkRequestStatus` of one request.
pub(super) fn status(reply: &[u8]) -> Option<Vec<Code>> {
    let mut statuses = fields(reply)?.into_iter().filter_map(|field| match field {
        (1, Field::Bytes(status)) => Some(status),
        _ => None,
    });
    let mut codes = Vec::new();
    for field in fields(statuses.next()?)? {
        let (1, Field::Bytes(by_count)) = field else { continue };
        let mut code = Code::default();
        for field in fields(by_count)? {
            match field {
                (1, Field::Varint(number)) => code.code = number,
                (2, Field::Varint(number)) => code.count = number,
                (3, Field::Varint(number)) => code.detail = number,
                _ => {}
            }
        }
        codes.push(code);
    }
    Some(codes)
}

enum Field<'a> {
    Varint(u64),
    /// Of any of the kinds that have a length.
    Bytes(&'a [u8]),
}

fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut bytes)?),
            1 => Field::Bytes(take(&mut bytes, 8)?),
            2 => {
                let length = varint(&mut bytes)?;
                Field::Bytes(take(&mut bytes, length)?)
            }
            5 => Field::Bytes(take(&mut bytes, 4)?),
            _ => return None,
        };
        all.push((tag >> 3, field));
    }
    Some(all)
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::protobuf::Message;

    #[test]
    fn replies_are_read() {
        let mut reply = Vec::new();
        Message::new(&mut reply).string(1, "first").string(2, "first").string(2, "läst").double(9, 1.0).float(8, 1.0);
        assert_eq!(request_id(&reply).unwrap(), "läst");
        let mut reply = Vec::new();
        Message::new(&mut reply).message(1, |status| {
            status.message(1, |code| drop(code.varint(2, 300)));
            status.message(1, |code| drop(code.varint(1, 6).varint(2, 1).varint(3, 24)));
            status.string(2, "why");
        });
        let codes = [Code { code: 0, count: 300, detail: 0 }, Code { code: 6, count: 1, detail: 24 }];
        assert_eq!(status(&reply).unwrap(), codes);
        // Cut anywhere it is none, or says less.
        for end in 0..reply.len() {
            assert_eq!(status(&reply[..end]), None, "{end}");
        }
        assert_eq!((request_id(b""), request_id(b"{\"ok\": 1}"), status(b"<html>")), (None, None, None));
    }

    proptest! {
        #[test]
        fn nothing_breaks_them(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (request_id(&bytes), status(&bytes));
        }
    }
}
