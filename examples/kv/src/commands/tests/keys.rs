//! Tests of keys: what is expected is what redis-server 7.0 answers.

use super::check;

#[test]
fn keys_come_and_go() {
    check(
        r"
        SET a 1 => +OK
        EXISTS a a b => :2
        DEL a a b => :1
        RENAME a b => -ERR no such key
        RENAMENX a b => -ERR no such key
        SET a 1 => +OK
        RENAME a a => +OK
        RENAME a b => +OK
        TYPE b => +string
        TYPE a => +none
        SET c 2 => +OK
        RENAMENX b c => :0
        RENAMENX b d => :1
        COPY d d => -ERR source and destination objects are the same
        COPY d c => :0
        COPY d c REPLACE => :1
        GET c => $1 1
        COPY nothing c => :0
        COPY d e DB 1x => -ERR value is not an integer or out of range
        TOUCH c d e => :2
        UNLINK c d => :2
        KEYS * => *0
        RANDOMKEY => $-1
        OBJECT ENCODING nothing => $-1
        OBJECT => -ERR wrong number of arguments for 'object' command
        ",
    );
}

#[test]
fn deadlines_have_conditions() {
    check(
        r"
        EXPIRE a 10 => :0
        SET a 1 => +OK
        EXPIRE a 100 XX => :0
        EXPIRE a 100 GT => :0
        EXPIRE a 100 LT => :1
        EXPIRE a 100 NX => :0
        EXPIRE a 50 GT => :0
        EXPIRE a 200 GT => :1
        EXPIRE a 300 LT => :0
        EXPIRE a 100 NX XX => -ERR NX and XX, GT or LT options at the same time are not compatible
        EXPIRE a 100 GT LT => -ERR GT and LT options at the same time are not compatible
        EXPIRE a 100 NX GT => -ERR NX and XX, GT or LT options at the same time are not compatible
        EXPIRE a 100 BAD => -ERR Unsupported option BAD
        EXPIRE a x => -ERR value is not an integer or out of range
        EXPIRE a 9223372036854775807 => -ERR invalid expire time in 'expire' command
        EXPIRE a -9223372036854775808 => -ERR invalid expire time in 'expire' command
        PEXPIREAT a 9223372036854775807 => :1
        PEXPIRETIME a => :9223372036854775807
        PERSIST a => :1
        PERSIST a => :0
        TTL a => :-1
        PTTL nothing => :-2
        EXPIREAT a 9999999999 => :1
        EXPIRETIME a => :9999999999
        EXPIRE a -1 => :1
        EXISTS a => :0
        ",
    );
}

#[test]
fn scans_look_at_the_key_before_their_options() {
    check(
        r"
        HSCAN nothing 0 BAD => *2 $1 0 *0
        HSCAN nothing x => -ERR invalid cursor
        SET a 1 => +OK
        HSCAN a 0 BAD => -WRONGTYPE Operation against a key holding the wrong kind of value
        SSCAN a x => -ERR invalid cursor
        HSET h a 1 b 2 => :2
        HSCAN h 0 BAD => -ERR syntax error
        HSCAN h 0 COUNT 0 => -ERR syntax error
        HSCAN h 0 COUNT x => -ERR value is not an integer or out of range
        HSCAN h 0 COUNT 9223372036854775807 MATCH b => *2 $1 0 *2 $1 b $1 2
        HSCAN h 18446744073709551615 MATCH a => *2 $1 0 *2 $1 a $1 1
        SADD s a b => :2
        SSCAN s 0 MATCH [^a] => *2 $1 0 *1 $1 b
        SSCAN s 0 TYPE set => -ERR syntax error
        ZADD z 1.5 a 2 b => :2
        ZSCAN z 0 MATCH a => *2 $1 0 *2 $1 a $3 1.5
        SCAN 0 TYPE zset => *2 $1 0 *1 $1 z
        SCAN 0 BAD => -ERR syntax error
        ",
    );
}
