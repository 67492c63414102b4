//! Commands that are kept: queued by a transaction, or on their way to another shard. Few
//! allocations, however many they are.

/// Commands, each some words, in the order in which they came.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    /// The bytes of all words.
    bytes: Vec<u8>,
    /// Where each word ends in `bytes`.
    words: Vec<usize>,
    /// Where each command ends in `words`.
    commands: Vec<usize>,
}

impl Batch {
    /// Appends a command.
    pub fn push(&mut self, words: &[&[u8]]) {
        for word in words {
            self.bytes.extend_from_slice(word);
            self.words.push(self.bytes.len());
        }
        self.commands.push(self.words.len());
    }

    /// How many commands there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// About the memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() + 8 * (self.words.len() + self.commands.len())
    }

    /// Puts the words of command `number` into `words`.
    pub fn get<'a>(&'a self, number: usize, words: &mut Vec<&'a [u8]>) {
        let end_of = |list: &[usize], number: usize| number.checked_sub(1).map_or(0, |it| list[it]);
        let from = end_of(&self.commands, number);
        let mut start = end_of(&self.words, from);
        words.clear();
        words.extend(self.words[from..self.commands[number]].iter().map(|end| {
            let word = &self.bytes[start..*end];
            start = *end;
            word
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out() {
        let commands: [&[&[u8]]; 4] = [&[b"set", b"key", b""], &[], &[b""], &[b"get", b"key"]];
        let mut batch = Batch::default();
        for words in commands {
            batch.push(words);
        }
        let mut words = vec![&b"old"[..]];
        for (number, command) in commands.iter().enumerate() {
            batch.get(number, &mut words);
            assert_eq!(words, *command);
        }
        assert_eq!(batch.len(), 4);
    }
}
