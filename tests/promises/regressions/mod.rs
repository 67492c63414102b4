//! Bugs that were here: for each the smallest test that shows it.

mod adopt_late;
mod backlog_one_more;
mod burst_limit;
mod crossing_drain;
mod drain_same_turn;
mod drain_then_data;
mod lost_offer;
mod panic_timeout;
mod pause_resume;
mod paused_failed;
mod reset_after_end;
mod shutdown_left;
mod shutdown_panic;
