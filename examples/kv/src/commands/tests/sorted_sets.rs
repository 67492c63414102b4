//! Tests of sorted sets: what is expected is what redis-server 7.0 answers.

use super::check;

#[test]
fn scores_are_doubles() {
    check(
        r#"
        ZADD z 0.1 a 1e17 b 1e-5 c inf d -inf e 3 f => :6
        ZRANGE z 0 -1 WITHSCORES => *12 $1 e $4 -inf $1 c $22 1.0000000000000001e-05 $1 a $19 0.10000000000000001 $1 f $1 3 $1 b $5 1e+17 $1 d $3 inf
        ZADD z nan a => -ERR value is not a valid float
        ZADD z x a => -ERR value is not a valid float
        ZADD z 1e400 a => -ERR value is not a valid float
        ZADD z "" a => -ERR value is not a valid float
        ZINCRBY z -inf d => -ERR resulting score is not a number (NaN)
        ZADD z NX INCR -inf d => $-1
        ZADD z GT INCR -inf d => -ERR resulting score is not a number (NaN)
        ZINCRBY z 0.2 a => $19 0.30000000000000004
        ZSCORE z f => $1 3
        ZSCORE z nothing => $-1
        ZMSCORE z f nothing => *2 $1 3 $-1
        ZMSCORE nothing f => *1 $-1
        ZADD z 1 => -ERR wrong number of arguments for 'zadd' command
        ZADD z => -ERR wrong number of arguments for 'zadd' command
        ZADD z 1 a 2 => -ERR syntax error
        ZINCRBY z nan a => -ERR value is not a valid float
        "#,
    );
}

#[test]
fn options_of_zadd() {
    check(
        r"
        ZADD z XX 1 a => :0
        EXISTS z => :0
        ZADD z NX 1 a 2 b => :2
        ZADD z NX 9 a 3 c => :1
        ZADD z XX CH 5 a 1 d => :1
        ZADD z GT CH 4 a 3 b => :1
        ZADD z LT CH 4 a 9 b => :1
        ZADD z GT 1 new => :1
        ZADD z INCR 2 a => $1 6
        ZADD z NX INCR 2 a => $-1
        ZADD z XX INCR 2 zz => $-1
        ZADD z GT INCR -2 a => $-1
        ZADD z NX XX 1 a => -ERR XX and NX options at the same time are not compatible
        ZADD z GT LT 1 a => -ERR GT, LT, and/or NX options at the same time are not compatible
        ZADD z GT NX 1 a => -ERR GT, LT, and/or NX options at the same time are not compatible
        ZADD z INCR 1 a 2 b => -ERR INCR option supports a single increment-element pair
        ZADD z CH 1 a 1 a => :1
        ZRANGE z 0 -1 WITHSCORES => *8 $1 a $1 1 $3 new $1 1 $1 b $1 3 $1 c $1 3
        ",
    );
}

#[test]
fn ranks_and_ranges() {
    check(
        r"
        ZADD z 1 a 2 b 2 c 3 d => :4
        ZRANK z a => :0
        ZREVRANK z a => :3
        ZRANK z x => $-1
        ZRANGE z 1 2 => *2 $1 b $1 c
        ZRANGE z 0 0 REV WITHSCORES => *2 $1 d $1 3
        ZREVRANGE z 0 1 => *2 $1 d $1 c
        ZRANGE z -100 100 => *4 $1 a $1 b $1 c $1 d
        ZRANGE z 5 6 => *0
        ZRANGE z 3 1 => *0
        ZRANGE z (1 3 BYSCORE => *3 $1 b $1 c $1 d
        ZRANGE z 3 (1 BYSCORE REV => *3 $1 d $1 c $1 b
        ZRANGE z -inf +inf BYSCORE LIMIT 1 2 => *2 $1 b $1 c
        ZRANGE z -inf +inf BYSCORE LIMIT -1 2 => *0
        ZRANGE z -inf +inf BYSCORE LIMIT 1 -1 WITHSCORES => *6 $1 b $1 2 $1 c $1 2 $1 d $1 3
        ZRANGEBYSCORE z 2 2 => *2 $1 b $1 c
        ZRANGEBYSCORE z (2 (2 => *0
        ZRANGEBYSCORE z 3 1 => *0
        ZREVRANGEBYSCORE z 3 (1 WITHSCORES LIMIT 0 2 => *4 $1 d $1 3 $1 c $1 2
        ZRANGEBYSCORE z x 1 => -ERR min or max is not a float
        ZRANGE z 0 1 LIMIT 0 1 => -ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX
        ZRANGE z - + BYLEX WITHSCORES => -ERR syntax error, WITHSCORES not supported in combination with BYLEX
        ZRANGE z a + BYLEX => -ERR min or max not valid string range item
        ZRANGE z 0 1 BAD => -ERR syntax error
        ZRANGE z 0 x => -ERR value is not an integer or out of range
        ZCOUNT z -inf (3 => :3
        ZCOUNT z (3 -inf => :0
        ZCOUNT nothing 0 1 => :0
        ZCOUNT z ( 2 => :3
        ZCOUNT z \x201 2 => :3
        ZCOUNT z 1\x20 2 => -ERR min or max is not a float
        ZRANGESTORE y z 1 2 => :2
        ZRANGE y 0 -1 WITHSCORES => *4 $1 b $1 2 $1 c $1 2
        ZRANGESTORE y z 10 20 => :0
        EXISTS y => :0
        ZREMRANGEBYRANK z 0 0 => :1
        ZREMRANGEBYSCORE z (2 3 => :1
        ZRANGE z 0 -1 => *2 $1 b $1 c
        ZREMRANGEBYRANK z 0 -1 => :2
        EXISTS z => :0
        ",
    );
}

#[test]
fn ranges_of_members() {
    check(
        r#"
        ZADD z 0 "" 0 a 0 aa 0 b 0 \xff => :5
        ZRANGEBYLEX z - + => *5 $0  $1 a $2 aa $1 b $1 �
        ZRANGEBYLEX z [a (b => *2 $1 a $2 aa
        ZRANGEBYLEX z (a [b => *2 $2 aa $1 b
        ZREVRANGEBYLEX z + [aa => *3 $1 � $1 b $2 aa
        ZRANGEBYLEX z + - => *0
        ZRANGEBYLEX z [ [ => *1 $0
        ZLEXCOUNT z [a [b => :3
        ZLEXCOUNT z a b => -ERR min or max not valid string range item
        ZREMRANGEBYLEX z - [aa => :3
        ZRANGEBYLEX z - + LIMIT 1 1 => *1 $1 �
        "#,
    );
}

#[test]
fn members_are_popped_and_picked() {
    check(
        r"
        ZADD z 1 a 2 b 3 c 4 d => :4
        ZPOPMIN z => *2 $1 a $1 1
        ZPOPMAX z 2 => *4 $1 d $1 4 $1 c $1 3
        ZPOPMIN z 0 => *0
        ZPOPMIN z -1 => -ERR value is out of range, must be positive
        ZPOPMIN z 1 1 => -ERR syntax error
        ZPOPMIN z 100 => *2 $1 b $1 2
        EXISTS z => :0
        ZPOPMIN z => *0
        ZPOPMIN z 1 => *0
        ZADD y 1 a 2 b => :2
        ZMPOP 2 z y MIN COUNT 5 => *2 $1 y *2 *2 $1 a $1 1 *2 $1 b $1 2
        ZMPOP 2 z y MAX => *-1
        ZMPOP 1 y MIDDLE => -ERR syntax error
        ZMPOP 0 y MIN => -ERR numkeys should be greater than 0
        ZMPOP 1 y MIN COUNT 0 => -ERR count should be greater than 0
        ZRANDMEMBER z => $-1
        ZRANDMEMBER z 1 => *0
        ZADD z 1 a => :1
        ZRANDMEMBER z -2 WITHSCORES => *4 $1 a $1 1 $1 a $1 1
        ZRANDMEMBER z 9223372036854775807 WITHSCORES => -ERR value is out of range
        ZRANDMEMBER z 1 BAD => -ERR syntax error
        ZREM z a a => :1
        EXISTS z => :0
        ",
    );
}

#[test]
fn several_sorted_sets() {
    check(
        r"
        ZADD a 1 x 2 y => :2
        ZADD b 3 y 4 z => :2
        SADD s x z => :2
        ZUNION 2 a b WITHSCORES => *6 $1 x $1 1 $1 z $1 4 $1 y $1 5
        ZUNION 2 a s WITHSCORES => *6 $1 z $1 1 $1 x $1 2 $1 y $1 2
        ZINTER 2 a b WEIGHTS 2 3 WITHSCORES => *2 $1 y $2 13
        ZINTER 2 a b AGGREGATE MAX WITHSCORES => *2 $1 y $1 3
        ZUNION 2 a b WEIGHTS 2 => -ERR syntax error
        ZUNION 2 a b WEIGHTS x 1 => -ERR weight value is not a float
        ZUNION 2 a b AGGREGATE AVG => -ERR syntax error
        ZUNION 0 a => -ERR at least 1 input key is needed for 'zunion' command
        ZUNION 3 a b => -ERR syntax error
        ZUNION x a => -ERR value is not an integer or out of range
        ZDIFF 2 a b WITHSCORES => *2 $1 x $1 1
        ZDIFF 2 a b WEIGHTS 1 2 => -ERR syntax error
        ZDIFF 2 nothing b => *0
        ZUNIONSTORE d 2 a b WEIGHTS inf -inf => :3
        ZRANGE d 0 -1 WITHSCORES => *6 $1 z $4 -inf $1 y $1 0 $1 x $3 inf
        ZINTERSTORE d 2 a nothing => :0
        EXISTS d => :0
        ZDIFFSTORE d 2 a s => :1
        ZRANGE d 0 -1 => *1 $1 y
        ZUNIONSTORE d 1 a WITHSCORES => -ERR syntax error
        ZINTERCARD 2 a b => :1
        ZINTERCARD 2 a b LIMIT 1 => :1
        ZINTERCARD 2 a b LIMIT -1 => -ERR LIMIT can't be negative
        SET k 1 => +OK
        ZUNION 2 a k => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZADD k 1 a => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZUNIONSTORE k 1 a => :2
        ZCARD k => :2
        ",
    );
}
