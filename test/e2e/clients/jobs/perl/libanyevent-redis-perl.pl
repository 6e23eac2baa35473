# AnyEvent::Redis: callbacks in an event loop.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use AnyEvent::Redis;
use Job;

my $redis = AnyEvent::Redis->new(host => '127.0.0.1', port => $ARGV[0]);
same 'OK', $redis->auth($ARGV[1])->recv;
same 'OK', $redis->set('text', 'hello')->recv;
same 'hello', $redis->get('text')->recv;
my @waiting = map { $redis->incr('count') } 1 .. 100;
same [1 .. 100], [map { $_->recv } @waiting];
same 'OK', $redis->mset(a => 1, b => 2)->recv;
same [1, 2], scalar $redis->mget('a', 'b')->recv;
same 2, $redis->del('a', 'b')->recv;
same 2, $redis->hset('hash', name => 'Ada', born => 1815)->recv;
my %person = @{ scalar $redis->hgetall('hash')->recv };
same ['Ada', 1815], [@person{qw(name born)}];
same 2, $redis->sadd('set', 'a', 'b', 'a')->recv;
same ['a', 'b'], [sort @{ scalar $redis->smembers('set')->recv }];
same 3, $redis->rpush('list', 'a', 'b', 'a')->recv;
same ['a', 'b', 'a'], scalar $redis->lrange('list', 0, -1)->recv;
same 7, $redis->eval('return 7', 0)->recv;
print "ok\n";
