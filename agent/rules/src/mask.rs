//! Hides secrets in what a script writes: every byte of every occurrence goes, and `[secret NAME]` stands in its place.
//!
//! Hidden are the values, and each line of a value that is long enough to be a secret itself. What comes in pieces is put together:
//! no more is held back than may be the beginning of a secret. One pass over the bytes, however they repeat (Aho and Corasick,
//! 1975). Not here: pipes, and what of the output is kept (`output`).

use belay_certs::{limits::SECRET_BYTES_MIN, secrets::Secrets};
use std::collections::VecDeque;

/// Index of the node where nothing is matched.
const ROOT: usize = 0;

/// What is looked for. Made once for a run, and shared by its streams.
#[derive(Debug, Clone)]
pub struct Mask {
    nodes: Vec<Node>,
    /// What stands in the place of each secret.
    words: Vec<String>,
}

/// The bytes that were matched so far: a beginning of some secret.
#[derive(Debug, Clone, Default)]
struct Node {
    /// The nodes behind it, by their byte.
    next: Vec<(u8, usize)>,
    /// The node of the longest other beginning that it ends with.
    fail: usize,
    /// How long it is, in bytes.
    depth: usize,
    /// The longest beginning at its end that more bytes could make longer: so much is held back.
    open: usize,
    /// The longest secret at its end: its length, and which.
    found: Option<(usize, usize)>,
}

/// One stream on its way through a [`Mask`].
#[derive(Debug, Clone, Default)]
pub struct Masked {
    /// The node of what came last.
    at: usize,
    /// Bytes that may belong to a secret that is not whole; at most the longest secret less one byte, and what is found in them.
    held: VecDeque<u8>,
    /// The number of the first of them, from the stream's start.
    first: u64,
    /// Bytes that belong to a secret whose word was said end here.
    hidden: u64,
    /// Secrets found in what is held, from left to right: first byte, end, which. None overlaps another.
    found: VecDeque<(u64, u64, usize)>,
}

impl Mask {
    /// Looks for all of these. At most some 24,000 nodes, for secrets are that long together.
    pub fn of(secrets: &Secrets) -> Self {
        let mut mask = Self { nodes: vec![Node::default()], words: Vec::new() };
        for (name, value) in secrets.iter() {
            let word = mask.words.len();
            mask.words.push(format!("[secret {name}]"));
            mask.add(value.as_bytes(), word);
            let lines = value.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
            for line in lines.filter(|line| line.len() >= SECRET_BYTES_MIN) {
                mask.add(line.as_bytes(), word);
            }
        }
        mask.link();
        mask
    }

    fn add(&mut self, bytes: &[u8], word: usize) {
        let mut at = ROOT;
        for (depth, byte) in (1..).zip(bytes) {
            at = match self.child(at, *byte) {
                Some(next) => next,
                None => {
                    let new = self.nodes.len();
                    self.nodes.push(Node { depth, ..Node::default() });
                    if let Some(node) = self.nodes.get_mut(at) {
                        node.next.push((*byte, new));
                    }
                    new
                }
            };
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.found.get_or_insert((bytes.len(), word));
        }
    }

    /// Finds for every node the longest other beginning that it ends with, the shorter nodes first.
    fn link(&mut self) {
        let mut queue = VecDeque::from([ROOT]);
        while let Some(at) = queue.pop_front() {
            let Some(node) = self.nodes.get(at).cloned() else { continue };
            for (byte, next) in node.next {
                let fail = if at == ROOT { ROOT } else { self.step(node.fail, byte) };
                let (found, open) = self.nodes.get(fail).map_or((None, 0), |fail| (fail.found, fail.open));
                if let Some(child) = self.nodes.get_mut(next) {
                    child.fail = fail;
                    child.found = child.found.or(found);
                    child.open = if child.next.is_empty() { open } else { child.depth };
                }
                queue.push_back(next);
            }
        }
    }

    fn child(&self, at: usize, byte: u8) -> Option<usize> {
        self.nodes.get(at)?.next.iter().find(|(of, _)| *of == byte).map(|(_, next)| *next)
    }

    /// The node after one more byte.
    fn step(&self, mut at: usize, byte: u8) -> usize {
        loop {
            match self.child(at, byte) {
                Some(next) => return next,
                None if at == ROOT => return ROOT,
                None => at = self.nodes.get(at).map_or(ROOT, |node| node.fail),
            }
        }
    }
}

impl Masked {
    /// Takes more of the stream: what may be shown now.
    pub fn take(&mut self, mask: &Mask, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.at = mask.step(self.at, *byte);
            self.held.push_back(*byte);
            let end = self.first.saturating_add(self.held.len() as u64);
            let Some(node) = mask.nodes.get(self.at) else { continue };
            if let Some((length, word)) = node.found {
                self.find(end.saturating_sub(length as u64), end, word);
            }
            self.show(mask, end.saturating_sub(node.open as u64), &mut shown);
        }
        shown
    }

    /// The end of the stream: what is held is no secret.
    pub fn finish(&mut self, mask: &Mask) -> Vec<u8> {
        let mut shown = Vec::new();
        self.at = ROOT;
        self.show(mask, u64::MAX, &mut shown);
        shown
    }

    /// Bytes that are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// A secret ends here. One that overlaps the last ones becomes one with them, under the name of the first.
    fn find(&mut self, start: u64, end: u64, word: usize) {
        if start < self.hidden {
            self.hidden = self.hidden.max(end);
            self.found.clear();
            return;
        }
        let mut new = (start, end, word);
        while let Some(last) = self.found.back().copied().filter(|(_, until, _)| *until > start) {
            self.found.pop_back();
            if last.0 < new.0 {
                (new.0, new.2) = (last.0, last.2);
            }
        }
        self.found.push_back(new);
    }

    /// Shows or hides everything before `until`: no secret that is still to be found begins there.
    fn show(&mut self, mask: &Mask, until: u64, shown: &mut Vec<u8>) {
        while self.first < until {
            if let Some((start, end, word)) = self.found.front().copied()
                && start == self.first
            {
                self.found.pop_front();
                self.hidden = end;
                shown.extend(mask.words.get(word).map(String::as_bytes).unwrap_or_default());
            }
            let Some(byte) = self.held.pop_front() else { return };
            if self.first >= self.hidden {
                shown.push(byte);
            }
            self.first = self.first.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
