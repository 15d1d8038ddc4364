//! How many spans of requests an OTLP request holds: as much of Protocol Buffers as counting needs.

/// The scope of Wirespan's spans of connections, which are no requests.
const CONNECTIONS: &[u8] = b"wirespan.l4";

/// Fields of `ExportTraceServiceRequest`, `ResourceSpans`, `ScopeSpans`, `InstrumentationScope` and `Span`
/// (opentelemetry-proto 1.x).
const RESOURCE_SPANS: u64 = 1;
const SCOPE_SPANS: u64 = 2;
const SCOPE: u64 = 1;
const SCOPE_NAME: u64 = 1;
const SPANS: u64 = 2;
const KIND: u64 = 6;

/// SERVER, CLIENT, PRODUCER and CONSUMER: a request that comes into a process or leaves it.
const BOUNDARY_KINDS: std::ops::RangeInclusive<u64> = 2..=5;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of fixed width, none of which are of interest.
    Fixed,
}

/// Spans at the boundary of a process, but for those of connections. What can't be read ends the count.
pub(super) fn at_boundary(request: &[u8]) -> u64 {
    let scopes = children(request, RESOURCE_SPANS).flat_map(|resource| children(resource, SCOPE_SPANS));
    let of_requests = scopes.filter(|spans| {
        !children(spans, SCOPE).flat_map(|scope| children(scope, SCOPE_NAME)).any(|name| name == CONNECTIONS)
    });
    let spans = of_requests.flat_map(|spans| children(spans, SPANS));
    spans.filter(|span| kind(span).is_some_and(|kind| BOUNDARY_KINDS.contains(&kind))).map(|_| 1).sum()
}

fn kind(span: &[u8]) -> Option<u64> {
    Fields(span).find_map(|(number, value)| match value {
        Value::Number(kind) if number == KIND => Some(kind),
        _ => None,
    })
}

/// The messages, or texts, in a field.
fn children(message: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    Fields(message).filter_map(move |(number, value)| match value {
        Value::Bytes(bytes) if number == wanted => Some(bytes),
        _ => None,
    })
}

/// The fields of a message, by number.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let &[byte] = self.take(1)? else { return None };
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = bytes.len();
        let low = (length & 0x7f) as u8;
        let varint = if length < 0x80 { vec![low] } else { vec![low | 0x80, u8::try_from(length >> 7).unwrap()] };
        [&[number << 3 | 2][..], &varint, bytes].concat()
    }

    fn request(scope: &str, kinds: &[u8]) -> Vec<u8> {
        let mut spans = field(1, &field(1, scope.as_bytes()));
        for kind in kinds {
            // A trace id, a time of fixed width, the kind.
            let span = [field(1, &[7; 16]), vec![7 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0], vec![6 << 3, *kind]].concat();
            spans.extend(field(2, &span));
        }
        field(1, &[field(1, b"resource"), field(2, &spans)].concat())
    }

    #[test]
    fn only_requests_across_the_boundary_count() {
        assert_eq!(at_boundary(&request("io.opentelemetry.tomcat-10.0", &[1, 2, 1, 3, 4, 5])), 4);
        assert_eq!(at_boundary(&request("wirespan.l7", &[2, 2])), 2);
        assert_eq!(at_boundary(&request("wirespan.l4", &[2, 3])), 0);
        let both = [request("wirespan.l4", &[2]), request("wirespan.l7", &[3])].concat();
        assert_eq!(at_boundary(&both), 1);
    }

    #[test]
    fn what_is_cut_off_or_no_message_counts_as_far_as_it_can_be_read() {
        let whole = request("x", &[2, 2]);
        assert_eq!(at_boundary(&whole[..whole.len() - 1]), 0);
        assert_eq!(at_boundary(&[0xff; 32]), 0);
        assert_eq!(at_boundary(&[]), 0);
    }
}
