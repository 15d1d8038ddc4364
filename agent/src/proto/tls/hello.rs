//! ClientHello and ServerHello (RFC 8446, section 4.1; RFC 5246, section 7.4.1).

/// Longest server name that is believed, bytes: that of the domain name system.
const NAME_BYTES: usize = 255;
/// Longest protocol name that is kept, bytes. The registered ones have up to 16.
const PROTOCOL_BYTES: usize = 32;
/// How many offered protocols are kept. Browsers offer two.
const OFFERED: usize = 16;
/// Longest session id, bytes.
const SESSION_BYTES: usize = 32;

/// Extension types.
mod extension {
    pub(super) const SERVER_NAME: u16 = 0;
    pub(super) const ALPN: u16 = 16;
    pub(super) const PRE_SHARED_KEY: u16 = 41;
    pub(super) const SUPPORTED_VERSIONS: u16 = 43;
}

/// The random of a ServerHello that asks for another ClientHello: SHA-256 of "HelloRetryRequest".
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What a client asks for, as far as its hello is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClientHello {
    /// The highest version that is a version.
    pub(super) version: Option<u16>,
    pub(super) session: Option<Vec<u8>>,
    pub(super) server_name: Option<String>,
    pub(super) offered: Vec<String>,
}

/// What a server chose.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServerHello {
    pub(super) version: u16,
    pub(super) session: Vec<u8>,
    pub(super) cipher: u16,
    pub(super) chosen: Option<String>,
    pub(super) pre_shared_key: bool,
    pub(super) is_retry: bool,
}

impl ClientHello {
    /// Reads as much as is there: extensions after a cut are missing.
    pub(super) fn parse(body: &[u8]) -> Self {
        let mut hello = Self::default();
        let _ = hello.read(Reader(body));
        hello
    }

    fn read(&mut self, mut body: Reader<'_>) -> Option<()> {
        self.version = body.u16().filter(|&version| is_version(version));
        body.take(RETRY.len())?;
        self.session = body.short_block().filter(|session| session.len() <= SESSION_BYTES).map(<[u8]>::to_vec);
        let ciphers = body.u16()?;
        body.take(usize::from(ciphers))?;
        body.short_block()?;
        body.u16()?;
        while let Some((kind, mut content)) = body.extension() {
            match kind {
                extension::SERVER_NAME => self.server_name = server_name(content),
                extension::ALPN => self.offered = protocols(content),
                extension::SUPPORTED_VERSIONS => {
                    let mut versions = Reader(content.short_block().unwrap_or_default());
                    let highest = std::iter::from_fn(|| versions.u16()).filter(|&version| is_version(version)).max();
                    self.version = highest.or(self.version);
                }
                _ => (),
            }
        }
        Some(())
    }
}

impl ServerHello {
    /// `None` if not even the cipher suite is there.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut body = Reader(body);
        let version = body.u16().filter(|&version| is_version(version))?;
        let is_retry = body.take(RETRY.len())? == RETRY;
        let session = body.short_block()?.to_vec();
        let cipher = body.u16()?;
        let mut hello = Self { version, session, cipher, is_retry, ..Self::default() };
        if body.take(1 + 2).is_some() {
            while let Some((kind, mut content)) = body.extension() {
                match kind {
                    extension::ALPN => hello.chosen = protocols(content).into_iter().next(),
                    extension::PRE_SHARED_KEY => hello.pre_shared_key = true,
                    extension::SUPPORTED_VERSIONS => {
                        hello.version = content.u16().filter(|&version| is_version(version)).unwrap_or(version);
                    }
                    _ => (),
                }
            }
        }
        Some(hello)
    }
}

/// Reads what is there; `None` when it is not.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from(bytes[0]) << 8 | u16::from(bytes[1]))
    }

    /// A block with a length of one byte.
    fn short_block(&mut self) -> Option<&'a [u8]> {
        let len = self.take(1)?[0];
        self.take(usize::from(len))
    }

    /// A block with a length of two bytes.
    fn block(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    fn extension(&mut self) -> Option<(u16, Self)> {
        Some((self.u16()?, Self(self.block()?)))
    }
}

/// SSL 3.0 to TLS 1.3. Everything else is a draft, or grease (RFC 8701).
fn is_version(version: u16) -> bool {
    (0x0300..=0x0304).contains(&version)
}

/// The first host name of the list (RFC 6066, section 3).
fn server_name(mut content: Reader<'_>) -> Option<String> {
    let mut names = Reader(content.block()?);
    loop {
        let kind = names.take(1)?[0];
        let name = names.block()?;
        if kind == 0 {
            return visible(name, NAME_BYTES);
        }
    }
}

/// RFC 7301, section 3.1. Grease is left out.
fn protocols(mut content: Reader<'_>) -> Vec<String> {
    let mut names = Reader(content.block().unwrap_or_default());
    std::iter::from_fn(|| names.short_block()).filter_map(|name| visible(name, PROTOCOL_BYTES)).take(OFFERED).collect()
}

fn visible(text: &[u8], most: usize) -> Option<String> {
    let fits = (1..=most).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
    fits.then(|| String::from_utf8_lossy(text).into_owned())
}
