//! What holds for any bytes that a client may send: for a fuzzer (`fuzz/run`), and for a test with
//! bytes by seed.

use wouldblock::Input;

use super::{Garbage, Next, Requests};

/// The commands and the end of one connection.
type Read = (Vec<Vec<Vec<u8>>>, Result<usize, Garbage>);

const WORD_MAX: usize = 1000;

/// Decodes the bytes behind the first whole, and in pieces as the first says: both give the same
/// commands and the same end. What commands there are, written as arrays, is decoded as the same
/// commands.
///
/// # Panics
///
/// If that is not so.
pub fn fuzz(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let whole = decode(bytes, bytes.len().max(1));
    let pieces = decode(bytes, usize::from(*cut) % 7 + 1);
    assert_eq!(whole.0, pieces.0);
    match (&whole.1, &pieces.1) {
        (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces, "what is left"),
        (Err(_), Err(_)) => {}
        (whole, pieces) => panic!("{whole:?} or {pieces:?}"),
    }
    // Where all were arrays within the limits, the plain way finds the same.
    if let Some(plain) = plain(bytes) {
        assert_eq!(whole, (plain, Ok(0)));
    }
    let written: Vec<u8> = whole.0.iter().flat_map(|words| write(words)).collect();
    assert_eq!(decode(&written, 3), (whole.0, Ok(0)));
}

/// The commands in bytes of which so many come at a time; and how many are left at the end.
fn decode(bytes: &[u8], piece: usize) -> Read {
    let (mut requests, mut commands) = (Requests::default(), Vec::new());
    let (mut consumed, mut come) = (0, 0);
    loop {
        let mut input = Input::from(&bytes[consumed..come]);
        let before = input.len();
        let mut words = Vec::new();
        let next = requests.next(&mut input, &mut words, WORD_MAX);
        consumed += before - input.len();
        match next {
            Ok(Next::Words) if words.is_empty() => assert!(input.len() < before, "it goes on"),
            Ok(Next::Words) => commands.push(words.iter().map(|word| word.to_vec()).collect()),
            Ok(Next::Quoted(words)) if words.is_empty() => {}
            Ok(Next::Quoted(words)) => commands.push(words),
            Ok(Next::Incomplete) if come == bytes.len() => {
                return (commands, Ok(bytes.len() - consumed));
            }
            Ok(Next::Incomplete) => come = bytes.len().min(come + piece),
            Err(garbage) => return (commands, Err(garbage)),
        }
    }
}

/// A command as an array.
fn write(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The plain way, of arrays that are whole; `None` of anything else.
fn plain(mut bytes: &[u8]) -> Option<Vec<Vec<Vec<u8>>>> {
    fn number(bytes: &mut &[u8], kind: u8) -> Option<usize> {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let digits = bytes[..end].strip_prefix(&[kind])?;
        let are_digits = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        *bytes = &bytes[end + 2..];
        are_digits.then(|| str::from_utf8(digits).ok()?.parse().ok())?
    }
    let mut commands = Vec::new();
    while !bytes.is_empty() {
        let count = number(&mut bytes, b'*').filter(|count| *count <= super::WORDS_MAX)?;
        let mut words = Vec::new();
        for _ in 0..count {
            let len = number(&mut bytes, b'$').filter(|len| *len <= WORD_MAX)?;
            words.push(bytes.get(..len)?.to_vec());
            bytes = bytes[len..].strip_prefix(b"\r\n")?;
        }
        if !words.is_empty() {
            commands.push(words);
        }
    }
    Some(commands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Pieces of commands, right and wrong, in any order.
    #[test]
    fn any_bytes_are_decoded_alike_however_they_come() {
        const PIECES: &[&[u8]] = &[
            b"*",
            b"$",
            b"\r\n",
            b"0",
            b"1",
            b"2",
            b"3",
            b"-1",
            b"PING",
            b" ",
            b"\"",
            b"'",
            b"\\",
            b"\\x4",
            b"\n",
            b"\r",
            b"*1\r\n$4\r\nPING\r\n",
            b"*2\r\n$3\r\nGET\r\n$1\r\n",
            b"*0\r\n",
            b"set k v\r\n",
            b"*3\r\n",
            b"$3\r\nabc\r\n",
            b"$0\r\n\r\n",
            b"\x00",
            b"\xff",
            b"1000",
            b"99999999999999999999",
        ];
        let mut random = Random::new();
        for _ in 0..20_000 {
            let mut bytes = vec![u8::try_from(random.below(256)).unwrap()];
            for _ in 0..random.below(20) {
                bytes.extend_from_slice(PIECES[random.below(PIECES.len())]);
            }
            fuzz(&bytes);
        }
    }
}
