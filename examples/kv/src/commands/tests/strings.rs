//! Tests of strings.

use super::check;

#[test]
fn set_and_get() {
    check(
        r#"
        GET a => $-1
        SET a 1 => +OK
        GET a => $1 1
        SET a "" => +OK
        GET a => $0
        set \x00\xff \x0d => +OK
        SET a => -ERR wrong number of arguments for 'set' command
        GET a b => -ERR wrong number of arguments for 'get' command
        "#,
    );
}

#[test]
fn the_options_of_set() {
    check(
        r"
        SET a 1 XX => $-1
        SET a 1 NX => +OK
        SET a 2 NX => $-1
        SET a 2 XX GET => $1 1
        SET a 3 NX GET => $1 2
        GET a => $1 2
        SET a 3 NX XX => -ERR syntax error
        SET a 3 EX 10 PX 10 => -ERR syntax error
        SET a 3 EX 10 KEEPTTL => -ERR syntax error
        SET a 3 KEEPTTL EX 10 => -ERR syntax error
        SET a 3 EX => -ERR syntax error
        SET a 3 EX x => -ERR value is not an integer or out of range
        SET a 3 EX 0 => -ERR invalid expire time in 'set' command
        SET a 3 PX -1 => -ERR invalid expire time in 'set' command
        SET a 3 EX 9223372036854775807 => -ERR invalid expire time in 'set' command
        SET a 3 PX 9223372036854775807 => -ERR invalid expire time in 'set' command
        SET a 3 PXAT 9223372036854775807 => +OK
        SET a 3 PXAT 1 => +OK
        GET a => $-1
        ",
    );
}
