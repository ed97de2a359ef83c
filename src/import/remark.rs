//! What is said of the file that was read, line by line.

/// A line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which, of those that were read.
    pub(super) file: usize,
    /// Beginning with 1.
    pub(super) line: usize,
}

/// What became of what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It is in our file, in other words.
    Kept,
    /// Something else is in our file.
    Changed,
    /// It isn't in our file, and nothing is lost by that.
    Dropped,
    /// It can't be in our file.
    Refused,
    /// It didn't do what it was written for.
    WasWrong,
}

impl Word {
    fn text(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Changed => "changed",
            Self::Dropped => "dropped",
            Self::Refused => "refused",
            Self::WasWrong => "was wrong",
        }
    }

    /// The exit code where this is the worst.
    fn code(self) -> u8 {
        match self {
            Self::Kept | Self::Dropped => 0,
            Self::Changed | Self::WasWrong => 1,
            Self::Refused => 2,
        }
    }
}

/// All that is said.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    /// The files' names.
    pub(super) files: Vec<String>,
    remarks: Vec<(Place, Word, String)>,
}

impl Remarks {
    pub(super) fn say(&mut self, place: Place, word: Word, what: &str) {
        // One line each, whatever a file holds.
        let what = what.replace(char::is_control, " ");
        let remark = (place, word, what);
        // Two programs may take the same default.
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    /// `FILE:LINE: WORD: …`, in the order of the files.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut remarks: Vec<_> = self.remarks.iter().collect();
        remarks.sort_by_key(|(place, ..)| *place);
        let lines = remarks.into_iter().map(|(place, word, what)| {
            let file = self.files.get(place.file).map_or("", String::as_str);
            format!("{file}:{}: {}: {what}", place.line, word.text())
        });
        lines.collect()
    }

    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        let codes = self.remarks.iter().map(|(_, word, _)| word.code());
        codes.max().unwrap_or(0)
    }
}
