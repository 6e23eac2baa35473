package Job;
# What the Perl jobs share: a check, and how they show what a library cannot do there.
use strict;
use warnings;
use Exporter 'import';
our @EXPORT = qw(same lacks ordinary_work);

sub same {
    my ($expected, $found) = map { ref $_ ? join(',', map { $_ // 'undef' } @$_) : $_ // 'undef' } @_;
    die "expected $expected, found $found\n" unless $expected eq $found;
}

# Fails unless the code needs a command that Rondo does not have; prints which one.
sub lacks {
    my ($what, $attempt) = @_;
    die "$what works\n" if eval { $attempt->(); 1 };
    $@ =~ /unknown command '(\w+)'/ or die $@;
    print "lacks $what: \U$1\n";
}

# The work of Redis.pm and of Redis::Fast, which have the same methods.
sub ordinary_work {
    my ($class, $port, $password) = @_;
    my $redis = $class->new(server => "127.0.0.1:$port", password => $password, reconnect => 2, every => 1000);
    $redis->select(1);
    same 'OK', $redis->set('text', 'hello', 'EX', 100);
    same 'hello', $redis->get('text');
    my $ttl = $redis->ttl('text');
    same 1, $ttl >= 90 && $ttl <= 100 ? 1 : 0;
    same undef, $redis->set('text', 'other', 'NX');
    same 'OK', $redis->mset(a => 1, b => 2);
    same ['1', '2', undef], [$redis->mget('a', 'b', 'none')];
    same 6, $redis->incrby('a', 5);
    my $raw = join '', map { chr } 0 .. 255;
    $redis->set($raw, $raw);
    same $raw, $redis->get($raw);

    # A pipeline, a transaction, and WATCH.
    my @counts;
    $redis->incr('count', sub { push @counts, $_[0] }) for 1 .. 300;
    $redis->wait_all_responses;
    same [1 .. 300], \@counts;
    $redis->multi;
    same 'QUEUED', $redis->set('{t}a', 1);
    $redis->incr('{t}a');
    same ['OK', 2], [$redis->exec];
    my $other = $class->new(server => "127.0.0.1:$port", password => $password);
    $other->select(1);
    $redis->watch('{t}a');
    $other->set('{t}a', 'theirs');
    $redis->multi;
    $redis->set('{t}a', 'mine');
    $redis->exec;
    same 'theirs', $redis->get('{t}a');

    $redis->mset(map { ("scan:$_", $_) } 1 .. 100);
    my ($cursor, %found) = (0);
    do {
        ($cursor, my $keys) = @{ $redis->scan($cursor, MATCH => 'scan:*', COUNT => 20) };
        $found{$_} = 1 for @$keys;
    } while $cursor ne '0';
    same 100, scalar keys %found;
    same 100, $redis->unlink(keys %found);

    same 0, eval { $redis->incr('{t}a'); 1 } // 0;
    same 1, $@ =~ /ERR value is not an integer or out of range/ ? 1 : 0;
    same 2, $redis->hset('hash', name => 'Ada', born => 1815);
    my %person = $redis->hgetall('hash');
    same ['Ada', 1815], [@person{qw(name born)}];
    same 2, $redis->sadd('set', 'a', 'b', 'a');
    same ['a', 'b'], [sort $redis->smembers('set')];
    same 3, $redis->rpush('list', 'a', 'b', 'a');
    same ['a', 'b', 'a'], [$redis->lrange('list', 0, -1)];
    same 7, $redis->eval('return 7', 0);
    same 'OK', $redis->flushdb;
    same 0, $redis->dbsize;
}

1;
