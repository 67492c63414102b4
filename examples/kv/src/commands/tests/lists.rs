//! Tests of lists: what is expected is what redis-server 7.0 answers.

use super::check;

#[test]
fn lists_at_both_ends() {
    check(
        r#"
        LPUSH l a b => :2
        RPUSH l c d => :4
        LRANGE l 0 -1 => *4 $1 b $1 a $1 c $1 d
        LPOP l => $1 b
        RPOP l 2 => *2 $1 d $1 c
        LPOP l 0 => *0
        LPOP l -1 => -ERR value is out of range, must be positive
        LPOP l x => -ERR value is out of range, must be positive
        LPOP l 100 => *1 $1 a
        EXISTS l => :0
        LPOP l => $-1
        LPOP l 1 => *-1
        LPUSHX l a => :0
        RPUSHX l a => :0
        EXISTS l => :0
        RPUSH l "" => :1
        LINDEX l 0 => $0
        LPOP l 1 1 => -ERR wrong number of arguments for 'lpop' command
        "#,
    );
}

#[test]
fn places_in_lists() {
    check(
        r"
        RPUSH l a b c d e => :5
        LINDEX l -1 => $1 e
        LINDEX l 5 => $-1
        LINDEX l -6 => $-1
        LINDEX l x => -ERR value is not an integer or out of range
        LSET l 0 x => +OK
        LSET l -1 y => +OK
        LSET l 5 z => -ERR index out of range
        LSET l -9223372036854775808 z => -ERR index out of range
        LSET nothing 0 z => -ERR no such key
        LSET l x z => -ERR value is not an integer or out of range
        LRANGE l 1 2 => *2 $1 b $1 c
        LRANGE l -100 100 => *5 $1 x $1 b $1 c $1 d $1 y
        LRANGE l 3 1 => *0
        LRANGE nothing 0 -1 => *0
        LRANGE l 0 x => -ERR value is not an integer or out of range
        LTRIM l 1 3 => +OK
        LRANGE l 0 -1 => *3 $1 b $1 c $1 d
        LTRIM l 5 10 => +OK
        EXISTS l => :0
        LTRIM l 0 0 => +OK
        LLEN l => :0
        ",
    );
}

#[test]
fn elements_of_lists() {
    check(
        r"
        RPUSH l a b a c a => :5
        LREM l 1 a => :1
        LRANGE l 0 -1 => *4 $1 b $1 a $1 c $1 a
        LREM l -1 a => :1
        LRANGE l 0 -1 => *3 $1 b $1 a $1 c
        LREM l 0 z => :0
        LINSERT l BEFORE a x => :4
        LINSERT l AFTER c y => :5
        LINSERT l AFTER z y => :-1
        LINSERT nothing AFTER z y => :0
        LINSERT l ON z y => -ERR syntax error
        LRANGE l 0 -1 => *5 $1 b $1 x $1 a $1 c $1 y
        RPUSH p a b c 1 2 3 c c => :8
        LPOS p c => :2
        LPOS p c RANK 2 => :6
        LPOS p c RANK -1 => :7
        LPOS p c COUNT 0 => *3 :2 :6 :7
        LPOS p c COUNT 2 RANK -1 => *2 :7 :6
        LPOS p c COUNT 0 MAXLEN 3 => *1 :2
        LPOS p z => $-1
        LPOS p z COUNT 0 => *0
        LPOS p c RANK 0 => -ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list
        LPOS p c COUNT -1 => -ERR COUNT can't be negative
        LPOS p c MAXLEN -1 => -ERR MAXLEN can't be negative
        LPOS p c RANK -9223372036854775807 => $-1
        LPOS p c BAD 1 => -ERR syntax error
        ",
    );
}

#[test]
fn elements_move_from_list_to_list() {
    check(
        r"
        RPUSH a 1 2 3 => :3
        LMOVE a b LEFT RIGHT => $1 1
        RPOPLPUSH a b => $1 3
        LRANGE b 0 -1 => *2 $1 3 $1 1
        RPOPLPUSH b b => $1 1
        LMOVE a a LEFT RIGHT => $1 2
        LMOVE a b UP RIGHT => -ERR syntax error
        LMOVE a b LEFT LEFT => $1 2
        EXISTS a => :0
        LMOVE a b LEFT LEFT => $-1
        SET s 1 => +OK
        LMOVE b s LEFT LEFT => -WRONGTYPE Operation against a key holding the wrong kind of value
        LMOVE s b LEFT LEFT => -WRONGTYPE Operation against a key holding the wrong kind of value
        LRANGE b 0 -1 => *3 $1 2 $1 1 $1 3
        LMPOP 2 a b LEFT COUNT 2 => *2 $1 b *2 $1 2 $1 1
        LMPOP 2 a b RIGHT => *2 $1 b *1 $1 3
        LMPOP 2 a b RIGHT => *-1
        LMPOP 0 a LEFT => -ERR numkeys should be greater than 0
        LMPOP x a LEFT => -ERR numkeys should be greater than 0
        LMPOP 2 a LEFT => -ERR syntax error
        LMPOP 1 b LEFT COUNT 0 => -ERR count should be greater than 0
        LMPOP 1 b LEFT BAD 1 => -ERR syntax error
        LMPOP 1 s LEFT => -WRONGTYPE Operation against a key holding the wrong kind of value
        LPUSH s 1 => -WRONGTYPE Operation against a key holding the wrong kind of value
        LLEN s => -WRONGTYPE Operation against a key holding the wrong kind of value
        ",
    );
}
