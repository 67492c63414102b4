//! How busy the loop is: time awake and asleep, the run queue, the longest turn, the longest callback.
//!
//! Always on, so it costs next to nothing: the clock is not read for it where it would not be read
//! anyway, but behind work that is off the common path. A length is compared with the longest so
//! far, and only a longer one is written down. What each number means is said at its method.
//! Moments and lengths are nanoseconds here. Read next: `stats.rs`, which holds it; `core/poll.rs`,
//! which counts.

use std::ops::AddAssign;
use std::time::Duration;

use crate::base::id::ConnId;

/// "Recently" is the present window of a second and the ten before.
const WINDOW: u64 = 1_000_000_000;
const WINDOWS: usize = 11;
/// Lengths of turns that are counted apart: 1, 10 and 100 ms, 1 and 10 s.
const LENGTHS: [u64; 5] = [1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000];

/// How busy the loop of a reactor is: [`Stats::load`](crate::Stats::load).
///
/// # What is measured
///
/// A turn is measured from the return of its poll to its end. The clock is read after each callback
/// and behind what takes long without one (a flush to many connections, TLS, a source); where the
/// last thing in a turn is a callback, the write of what that has sent is not in the turn's length.
/// [`run`](crate::Reactor::run) adds it to the time [`awake`](Self::awake) where some deadline is
/// set (an [idle limit](crate::Config::idle) is enough).
///
/// "Recently" is in the present second of the reactor's clock and in the ten before.
///
/// # Examples
///
/// How busy the loop was since the last look, from 0 to 1:
///
/// ```
/// use wouldblock::Load;
///
/// fn busy(before: &Load, now: &Load) -> f64 {
///     let awake = (now.awake() - before.awake()).as_secs_f64();
///     let asleep = (now.asleep() - before.asleep()).as_secs_f64();
///     awake / (awake + asleep).max(1e-9)
/// }
/// # assert_eq!(busy(&Load::default(), &Load::default()), 0.0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// When the reactor was made.
    made: u64,
    /// When the poll of this turn, or of the last one, returned.
    turn_began: u64,
    /// In turns, those that are over.
    awake: u64,
    /// When the present window ends.
    window_ends: u64,
    turn: Peak,
    queue: Peak,
    /// Entries that this turn serves, or the last one did.
    run_queue: u64,
    /// A callback that is longer is written down.
    callback_bar: u64,
    /// No callback that ends by then is longer: it begins behind a moment that lies the bar before.
    /// So that one comparison is enough behind most callbacks.
    short_until: u64,
    /// What the clock has moved on within the callback that runs, when it was last read.
    within: u64,
    /// In each window, the present one first.
    callback: [Option<Longest>; WINDOWS],
    longest_ever: Option<Longest>,
    /// Turns longer than each of `LENGTHS`.
    longer: [u64; 5],
}

/// A callback that took long, and whose it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Longest {
    /// From the last reading of the clock before it to its end, whether the thread had the CPU or
    /// not: so the read before an `on_data` is in it, and the write of what the callback before had
    /// sent. Those are bounded by [`read_buffer`](crate::Config::read_buffer) and
    /// [`output_high`](crate::Config::output_high).
    pub took: Duration,
    /// Which: `"on_data"`, `"on_timer"`, `"a posted closure"`, `"a source"`; and, in the place of a
    /// callback, `"flush"`: what one turn wrote to connections that other callbacks had sent to.
    pub what: &'static str,
    /// Whose, if it was of a connection; that may be over.
    pub conn: Option<ConnId>,
    /// The [service](crate::Context::service); 0 also for what concerns all.
    pub service: u8,
    /// When it ended, on the reactor's clock ([`Context::now`](crate::Context::now)).
    pub ended: Duration,
}

/// The longest in each window, the present one first.
#[derive(Clone, Debug, Default)]
struct Peak([u64; WINDOWS]);

impl Peak {
    #[inline]
    fn note(&mut self, length: u64) -> bool {
        let is_longer = length > self.0[0];
        if is_longer {
            self.0[0] = length;
        }
        is_longer
    }

    fn recent(&self) -> u64 {
        self.0.into_iter().max().unwrap_or_default()
    }

    fn next_window(&mut self) {
        self.0.rotate_right(1);
        self.0[0] = 0;
    }
}

impl Load {
    /// Time in turns that are over: work for the loop's thread, whether it had the CPU or not.
    #[must_use]
    pub fn awake(&self) -> Duration {
        Duration::from_nanos(self.awake)
    }

    /// Time since the reactor was made that was not in turns: in the poll, and, in a loop that is
    /// not ours, in the hands of that.
    #[must_use]
    pub fn asleep(&self) -> Duration {
        Duration::from_nanos((self.turn_began - self.made).saturating_sub(self.awake))
    }

    /// The longest turn, recently: loop lag. What comes while a turn goes on is not seen before the
    /// next poll, so no peer and no timer waited longer than this for the loop to look, and than
    /// this once more to be served.
    #[must_use]
    pub fn lag(&self) -> Duration {
        Duration::from_nanos(self.turn.recent())
    }

    /// The longest turn in the present second of the reactor's clock and in the one before: loop
    /// lag, to be drawn as it comes and goes.
    #[must_use]
    pub fn lag_now(&self) -> Duration {
        Duration::from_nanos(self.turn.0[0].max(self.turn.0[1]))
    }

    /// How many turns took longer than 1, 10 and 100 ms, 1 and 10 s, since the reactor was made.
    /// With [`Stats::turns`](crate::Stats::turns) and [`awake`](Self::awake), which is their sum,
    /// it is a histogram.
    #[must_use]
    pub fn turns_longer(&self) -> [(Duration, u64); 5] {
        std::array::from_fn(|n| (Duration::from_nanos(LENGTHS[n]), self.longer[n]))
    }

    /// Length of the run queue when this turn began to serve it, or the last one: connections,
    /// listeners and datagram sockets with something to do.
    #[must_use]
    pub fn run_queue(&self) -> usize {
        usize::try_from(self.run_queue).unwrap_or(usize::MAX)
    }

    /// The longest run queue, recently.
    #[must_use]
    pub fn run_queue_longest(&self) -> usize {
        usize::try_from(self.queue.recent()).unwrap_or(usize::MAX)
    }

    /// The longest callback, recently. `None` if there was none.
    #[must_use]
    pub fn longest(&self) -> Option<&Longest> {
        self.callback.iter().flatten().max_by_key(|longest| longest.took)
    }

    /// The longest callback since the reactor was made.
    #[must_use]
    pub fn longest_ever(&self) -> Option<&Longest> {
        self.longest_ever.as_ref()
    }

    // --- Counting -------------------------------------------------------------------------------

    pub(crate) fn begin(&mut self, now: u64) {
        (self.made, self.turn_began) = (now, now);
        self.window_ends = now.saturating_add(WINDOW);
    }

    /// The poll has returned.
    #[inline]
    pub(crate) fn begin_turn(&mut self, now: u64) {
        self.turn_began = now;
        // Between two turns there is no callback.
        self.within = 0;
        if now >= self.window_ends {
            self.next_window(now);
        }
    }

    /// The turn begins to serve as many.
    #[inline]
    pub(crate) fn note_run_queue(&mut self, len: usize) {
        self.run_queue = len as u64;
        self.queue.note(len as u64);
    }

    #[inline]
    pub(crate) fn end_turn(&mut self, now: u64) {
        let length = now - self.turn_began;
        self.awake += length;
        if self.turn.note(length) || length > LENGTHS[0] {
            self.note_long_turn(length);
        }
    }

    /// Before the next poll it turned out that the turn had ended later.
    pub(crate) fn note_later_end(&mut self, ended: u64, now: u64) {
        self.awake += now - ended;
    }

    /// The clock was read in the midst of a callback, and had moved on: the end of that is looked at.
    pub(crate) fn note_within(&mut self, before: u64, now: u64) {
        if now > before {
            self.within += now - before;
            self.short_until = 0;
        }
    }

    /// Whether a callback that ends now may be longer than the longest:
    /// [`note_callback`](Self::note_callback) is to look.
    #[inline]
    pub(crate) fn may_be_long(&self, now: u64) -> bool {
        now > self.short_until
    }

    /// A callback ends now, the clock having been read at `before`: it is written down if it is
    /// longer than the longest.
    pub(crate) fn note_callback(
        &mut self,
        before: u64,
        now: u64,
        what: &'static str,
        conn: Option<ConnId>,
        service: u8,
    ) {
        let length = now - before + std::mem::take(&mut self.within);
        if length > self.callback_bar {
            let (took, ended) = (Duration::from_nanos(length), Duration::from_nanos(now));
            let longest = Longest { took, what, conn, service, ended };
            self.callback[0] = Some(longest);
            if self.longest_ever.is_none_or(|than| took > than.took) {
                self.longest_ever = Some(longest);
            }
            self.callback_bar = length;
        }
        self.short_until = now.saturating_add(self.callback_bar);
    }

    #[cold]
    fn note_long_turn(&mut self, length: u64) {
        for (than, count) in LENGTHS.iter().zip(&mut self.longer) {
            *count += u64::from(length > *than);
        }
    }

    #[cold]
    fn next_window(&mut self, now: u64) {
        let passed = (now - self.window_ends) / WINDOW + 1;
        // After a long sleep nothing is recent.
        for _ in 0..passed.min(WINDOWS as u64) {
            self.turn.next_window();
            self.queue.next_window();
            self.callback.rotate_right(1);
            self.callback[0] = None;
        }
        (self.callback_bar, self.short_until) = (0, 0);
        self.window_ends = self.window_ends.saturating_add(passed.saturating_mul(WINDOW));
    }
}

/// Several loops together: times, turns and run queues are sums, so the part of the time that is
/// [awake](Load::awake) is the mean over all; lag, the longest queue and the longest callback are
/// those of the loop that has the longest.
impl AddAssign<&Load> for Load {
    fn add_assign(&mut self, other: &Load) {
        let wider = self.callback.iter_mut().zip(&other.callback);
        for (mine, theirs) in wider.chain([(&mut self.longest_ever, &other.longest_ever)]) {
            let longer = theirs.filter(|it| mine.is_none_or(|mine| it.took > mine.took));
            *mine = longer.or(*mine);
        }
        for (mine, theirs) in [(&mut self.turn, &other.turn), (&mut self.queue, &other.queue)] {
            for (mine, theirs) in mine.0.iter_mut().zip(theirs.0) {
                *mine = theirs.max(*mine);
            }
        }
        for (mine, theirs) in self.longer.iter_mut().zip(other.longer) {
            *mine += theirs;
        }
        self.awake += other.awake;
        self.run_queue += other.run_queue;
        // As one that has lasted as long as both.
        self.turn_began += other.turn_began - other.made;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was longest is recent in its own second and in the ten after it, and not after that,
    /// nor behind a long sleep.
    #[test]
    fn what_was_longest_is_told_for_ten_seconds_after_its_own() {
        let mut load = Load::default();
        load.begin(0);
        let mut turn = |began: u64, took: u64| {
            load.begin_turn(began);
            load.note_run_queue(3);
            load.note_callback(began, began + took, "on_data", None, 0);
            load.end_turn(began + took);
            let longest = load.longest().map_or(0, |longest| longest.took.as_nanos());
            assert_eq!(longest, load.lag().as_nanos());
            (longest, load.lag_now().as_nanos())
        };
        let second = WINDOW;
        assert_eq!(turn(second - 500, 400), (400, 400));
        assert_eq!(turn(second, 7), (400, 400));
        assert_eq!(turn(2 * second, 8), (400, 8));
        assert_eq!(turn(11 * second - 1, 9), (400, 9));
        assert_eq!(turn(11 * second, 5), (9, 9));
        assert_eq!(turn(12 * second, 5), (9, 5));
        assert_eq!(turn(99 * second, 4), (4, 4));
        assert_eq!(load.longest_ever().unwrap().took.as_nanos(), 400);
        assert_eq!((load.run_queue(), load.run_queue_longest()), (3, 3));
        assert_eq!(load.awake().as_nanos(), 438);
    }

    /// A callback that ends with a reading of the clock, as `set_timeout` is one, is as long as
    /// any; and one that is not longer leaves nothing for the next.
    #[test]
    fn what_the_clock_was_read_in_the_midst_of_is_told_whole() {
        let mut load = Load::default();
        let mut callback = |began: u64, within: &[u64], ended: u64| {
            let mut before = began;
            for &read in within {
                load.note_within(before, read);
                before = read;
            }
            if load.may_be_long(ended) {
                load.note_callback(before, ended, "on_data", None, 0);
            }
            load.longest().map_or(0, |longest| longest.took.as_nanos())
        };
        assert_eq!(callback(1000, &[1100], 1100), 100);
        assert_eq!(callback(1100, &[1130, 1160], 1160), 100);
        assert_eq!(callback(1160, &[], 1200), 100);
        assert_eq!(callback(1200, &[1290], 1301), 101);
        assert_eq!(callback(1301, &[], 1402), 101);
        assert_eq!(callback(1402, &[], 1504), 102);
    }

    /// A turn is counted at each length that it is longer than.
    #[test]
    fn turns_are_counted_by_their_length() {
        let mut load = Load::default();
        for milliseconds in [2000, 1, 0, 5, 11, 500] {
            load.begin_turn(0);
            load.end_turn(milliseconds * 1_000_000 + 1);
        }
        let counts = load.turns_longer().map(|(length, count)| (length.as_millis(), count));
        assert_eq!(counts, [(1, 5), (10, 3), (100, 2), (1000, 1), (10_000, 0)]);
    }

    /// Of several loops: half of them awake is half of the time awake, and the slowest is the lag of all.
    #[test]
    fn several_loops_are_awake_in_the_mean_and_late_as_the_latest() {
        let play = |length: u64| {
            let mut load = Load::default();
            load.begin(1000);
            load.begin_turn(1000);
            load.note_run_queue(2);
            load.note_callback(1000, 1000 + length, "on_data", None, 0);
            load.end_turn(1000 + length);
            load.begin_turn(2000);
            load.end_turn(2000);
            load
        };
        let mut both = Load::default();
        both += &play(900);
        both += &play(100);
        assert_eq!((both.awake().as_nanos(), both.asleep().as_nanos()), (1000, 1000));
        assert_eq!((both.lag().as_nanos(), both.run_queue_longest()), (900, 2));
        assert_eq!(both.longest().map(|it| it.took.as_nanos()), Some(900));
        assert_eq!(both.longest_ever().map(|it| it.took.as_nanos()), Some(900));
    }
}
