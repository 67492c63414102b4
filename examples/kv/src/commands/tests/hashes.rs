//! Tests of hashes: what is expected is what redis-server 7.0 answers.

use super::check;

#[test]
fn fields_of_hashes() {
    check(
        r#"
        HSET h a 1 b 2 => :2
        HSET h a 3 c "" => :1
        HSET h a => -ERR wrong number of arguments for 'hset' command
        HSET h a 1 b => -ERR wrong number of arguments for 'hset' command
        HMSET h a 1 b => -ERR wrong number of arguments for 'hmset' command
        HMSET h d 4 => +OK
        HGETALL h => *8 $1 a $1 3 $1 b $1 2 $1 c $0  $1 d $1 4
        HGET h a => $1 3
        HGET h z => $-1
        HGET nothing a => $-1
        HMGET h a z c => *3 $1 3 $-1 $0
        HMGET nothing a b => *2 $-1 $-1
        HKEYS h => *4 $1 a $1 b $1 c $1 d
        HVALS h => *4 $1 3 $1 2 $0  $1 4
        HLEN h => :4
        HSTRLEN h a => :1
        HSTRLEN h z => :0
        HEXISTS h a => :1
        HEXISTS h z => :0
        HSETNX h a 9 => :0
        HSETNX h e 9 => :1
        HDEL h a a z => :1
        HDEL h b c d e => :4
        EXISTS h => :0
        HDEL h a => :0
        HGETALL h => *0
        SET s 1 => +OK
        HSET s a 1 => -WRONGTYPE Operation against a key holding the wrong kind of value
        HGET s a => -WRONGTYPE Operation against a key holding the wrong kind of value
        "#,
    );
}

#[test]
fn numbers_in_hashes() {
    check(
        r"
        HINCRBY h a 9223372036854775807 => :9223372036854775807
        HINCRBY h a 1 => -ERR increment or decrement would overflow
        HINCRBY h a -1 => :9223372036854775806
        HINCRBY h a x => -ERR value is not an integer or out of range
        HSET h b x => :1
        HINCRBY h b 1 => -ERR hash value is not an integer
        HINCRBY h c 1.0 => -ERR value is not an integer or out of range
        EXISTS h => :1
        HRANDFIELD h 0 => *0
        HRANDFIELD h -9223372036854775808 => -ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807
        HRANDFIELD h 9223372036854775807 WITHVALUES => -ERR value is out of range
        HRANDFIELD h 1 BAD => -ERR syntax error
        HRANDFIELD h x => -ERR value is not an integer or out of range
        HRANDFIELD nothing => $-1
        HRANDFIELD nothing 5 => *0
        HRANDFIELD h 100 WITHVALUES => *4 $1 a $19 9223372036854775806 $1 b $1 x
        ",
    );
}
