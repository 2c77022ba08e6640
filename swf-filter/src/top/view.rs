//! What whoever watches has chosen. Keys go in; nothing is drawn here.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Characters of a host's name that can be asked for.
const LONGEST_FILTER: usize = 64;

/// A part of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Panel {
    /// Packets by host.
    Hosts,
    /// Requests and connections.
    Listener,
    /// Packets by reason.
    Reasons,
    /// Packets by rule.
    Rules,
    /// Dropped packets by source.
    Sources,
}

/// Panels in the order in which they are gone through.
const ORDER: [Panel; 5] = [
    Panel::Reasons,
    Panel::Listener,
    Panel::Hosts,
    Panel::Sources,
    Panel::Rules,
];

/// What the rows of a panel are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// The first column, the largest on top.
    #[default]
    First,
    /// The name.
    Name,
    /// The second column, the largest on top.
    Second,
}

/// Whether new rates are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    /// They are.
    #[default]
    Live,
    /// What is there stays.
    Paused,
}

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All panels.
    #[default]
    All,
    /// One panel.
    One,
}

/// What keys are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keys {
    /// The name of a host is typed.
    Filter,
    /// The help is read.
    Help,
    /// All else.
    #[default]
    Watch,
}

/// What is to happen after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The end.
    Quit,
    /// More.
    Stay,
}

/// All that was chosen.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) focus: Panel,
    pub(crate) flow: Flow,
    pub(crate) extent: Extent,
    pub(crate) keys: Keys,
    /// A part of a host's name.
    pub(crate) filter: String,
    sorts: [Sort; ORDER.len()],
    scrolls: [usize; ORDER.len()],
}

impl Default for View {
    fn default() -> Self {
        Self {
            focus: Panel::Reasons,
            flow: Flow::default(),
            extent: Extent::default(),
            keys: Keys::default(),
            filter: String::new(),
            sorts: [Sort::default(); ORDER.len()],
            scrolls: [0; ORDER.len()],
        }
    }
}

impl View {
    /// What a panel is sorted by.
    pub(crate) fn sort(&self, panel: Panel) -> Sort {
        self.sorts[place(panel)]
    }

    /// How many rows of a panel are above its first visible one.
    pub(crate) fn scroll(&self, panel: Panel) -> usize {
        self.scrolls[place(panel)]
    }

    /// Whether something of this host is to be shown.
    pub(crate) fn shows(&self, host: &str) -> bool {
        host.contains(&self.filter)
    }

    /// Does what a key is for.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Stay;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Next::Quit;
        }
        match self.keys {
            Keys::Filter => self.type_filter(key.code),
            Keys::Help => self.keys = Keys::Watch,
            Keys::Watch => return self.watch(key.code),
        }
        Next::Stay
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.keys = Keys::Watch,
            KeyCode::Esc => {
                self.filter.clear();
                self.keys = Keys::Watch;
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(character) if self.filter.chars().count() < LONGEST_FILTER => {
                self.filter.push(character);
            }
            _ => {}
        }
        self.scrolls = [0; ORDER.len()];
    }

    fn watch(&mut self, key: KeyCode) -> Next {
        let at = place(self.focus);
        match key {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Esc if self.extent == Extent::One => self.extent = Extent::All,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.keys = Keys::Help,
            KeyCode::Char('/') => self.keys = Keys::Filter,
            KeyCode::Char('p' | ' ') => {
                self.flow = match self.flow {
                    Flow::Live => Flow::Paused,
                    Flow::Paused => Flow::Live,
                }
            }
            KeyCode::Char('s') => {
                self.sorts[at] = match self.sorts[at] {
                    Sort::First => Sort::Second,
                    Sort::Second => Sort::Name,
                    Sort::Name => Sort::First,
                };
                self.scrolls[at] = 0;
            }
            KeyCode::Enter => {
                self.extent = match self.extent {
                    Extent::All => Extent::One,
                    Extent::One => Extent::All,
                }
            }
            KeyCode::Tab | KeyCode::Right => self.focus = ORDER[(at + 1) % ORDER.len()],
            KeyCode::BackTab | KeyCode::Left => {
                self.focus = ORDER[(at + ORDER.len() - 1) % ORDER.len()];
            }
            KeyCode::Down => self.scrolls[at] += 1,
            KeyCode::Up => self.scrolls[at] = self.scrolls[at].saturating_sub(1),
            KeyCode::Home => self.scrolls[at] = 0,
            _ => {}
        }
        Next::Stay
    }

    /// Takes back what was scrolled beyond the last row of a panel.
    pub(crate) fn bound(&mut self, panel: Panel, most: usize) {
        let scroll = &mut self.scrolls[place(panel)];
        *scroll = (*scroll).min(most);
    }
}

fn place(panel: Panel) -> usize {
    let place = ORDER.iter().position(|one| *one == panel);
    place.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(view: &mut View, codes: &[KeyCode]) {
        for code in codes {
            assert_eq!(view.press(KeyEvent::from(*code)), Next::Stay, "{code}");
        }
    }

    #[test]
    fn keys_go_through_all_panels_and_back() {
        let mut view = View::default();
        let mut seen = Vec::new();
        for _ in ORDER {
            seen.push(view.focus);
            press(&mut view, &[KeyCode::Tab]);
        }
        assert_eq!((seen.as_slice(), view.focus), (&ORDER[..], Panel::Reasons));
        press(&mut view, &[KeyCode::Left]);
        assert_eq!(view.focus, Panel::Rules);
    }

    #[test]
    fn what_is_typed_for_a_host_is_no_command() {
        let mut view = View::default();
        press(&mut view, &[KeyCode::Char('/')]);
        press(
            &mut view,
            &"qsp?x".chars().map(KeyCode::Char).collect::<Vec<_>>(),
        );
        press(&mut view, &[KeyCode::Backspace, KeyCode::Enter]);
        assert_eq!((&*view.filter, view.flow), ("qsp?", Flow::Live));
        assert!(view.shows("a qsp? b") && !view.shows("qsp"));
        press(&mut view, &[KeyCode::Esc]);
        assert_eq!(view.filter, "");
        assert_eq!(view.press(KeyEvent::from(KeyCode::Char('q'))), Next::Quit);
    }

    #[test]
    fn the_end_is_always_a_key_away() {
        for first in ['/', '?', 'p'] {
            let mut view = View::default();
            press(&mut view, &[KeyCode::Char(first)]);
            let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
            assert_eq!(view.press(key), Next::Quit, "{first}");
        }
    }

    #[test]
    fn each_panel_is_sorted_and_scrolled_by_itself() {
        let mut view = View::default();
        press(
            &mut view,
            &[KeyCode::Char('s'), KeyCode::Down, KeyCode::Down],
        );
        press(&mut view, &[KeyCode::Tab]);
        assert_eq!(view.sort(Panel::Reasons), Sort::Second);
        assert_eq!(view.sort(Panel::Listener), Sort::First);
        assert_eq!(
            (view.scroll(Panel::Reasons), view.scroll(Panel::Listener)),
            (2, 0)
        );
        view.bound(Panel::Reasons, 1);
        assert_eq!(view.scroll(Panel::Reasons), 1);
    }
}
