//! Tests of sets: what is expected is what redis-server 7.0 answers.

use super::check;

#[test]
fn members_of_sets() {
    check(
        r"
        SADD s a b a => :2
        SADD s b c => :1
        SCARD s => :3
        SISMEMBER s a => :1
        SISMEMBER s z => :0
        SMISMEMBER s a z => *2 :1 :0
        SMISMEMBER nothing a => *1 :0
        SREM s a z => :1
        SREM s b c => :2
        EXISTS s => :0
        SMEMBERS s => *0
        SPOP s => $-1
        SPOP s 2 => *0
        SPOP s -1 => -ERR value is out of range, must be positive
        SPOP s 1 1 => -ERR syntax error
        SRANDMEMBER s => $-1
        SRANDMEMBER s 2 => *0
        SRANDMEMBER s -9223372036854775808 => -ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807
        SADD s a => :1
        SRANDMEMBER s -3 => *3 $1 a $1 a $1 a
        SPOP s 100 => *1 $1 a
        EXISTS s => :0
        SADD a x y => :2
        SADD b y => :1
        SMOVE a b x => :1
        SMOVE a b x => :0
        SMOVE a a y => :1
        SMOVE nothing b x => :0
        SET k 1 => +OK
        SMOVE a k y => -WRONGTYPE Operation against a key holding the wrong kind of value
        SMOVE k a y => -WRONGTYPE Operation against a key holding the wrong kind of value
        SMOVE a c y => :1
        EXISTS a => :0
        SADD k a => -WRONGTYPE Operation against a key holding the wrong kind of value
        SMEMBERS k => -WRONGTYPE Operation against a key holding the wrong kind of value
        ",
    );
}

#[test]
fn several_sets() {
    check(
        r"
        SADD a 1 2 3 => :3
        SADD b 2 3 => :2
        SADD c 3 => :1
        SINTER a b c => *1 $1 3
        SINTER a nothing => *0
        SDIFF a b => *1 $1 1
        SDIFF nothing a => *0
        SDIFF a b c => *1 $1 1
        SUNION c nothing => *1 $1 3
        SINTERSTORE d a b c => :1
        SMEMBERS d => *1 $1 3
        SINTERSTORE d a nothing => :0
        EXISTS d => :0
        SUNIONSTORE a a b c => :3
        SCARD a => :3
        SDIFFSTORE d a b c => :1
        SMEMBERS d => *1 $1 1
        SINTERCARD 2 a b => :2
        SINTERCARD 2 a b LIMIT 1 => :1
        SINTERCARD 2 a b LIMIT 0 => :2
        SINTERCARD 2 a b LIMIT -1 => -ERR LIMIT can't be negative
        SINTERCARD 2 a b BAD 1 => -ERR syntax error
        SINTERCARD 0 a => -ERR numkeys should be greater than 0
        SINTERCARD x a => -ERR numkeys should be greater than 0
        SINTERCARD 3 a b => -ERR Number of keys can't be greater than number of args
        SET k 1 => +OK
        SINTER a k => -WRONGTYPE Operation against a key holding the wrong kind of value
        SUNIONSTORE k a b => :3
        SCARD k => :3
        ",
    );
}
