# CHI, Perl's common interface of caches: the keys of a namespace are in a set.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use CHI;
use Job;

my @options = (
    driver => 'Redis', server => "127.0.0.1:$ARGV[0]", password => $ARGV[1],
    on_set_error => 'die', on_get_error => 'die',
);
my $cache = CHI->new(@options, namespace => 'app');
my $other = CHI->new(@options, namespace => 'other');
$cache->set('user', { name => 'Ada' }, '60 seconds');
same 'Ada', $cache->get('user')->{name};
same undef, $cache->get('nobody');
my $left = $cache->get_object('user')->expires_at - time;
same 1, $left >= 50 && $left <= 60 ? 1 : 0;
my $worked = 0;
same 1, $cache->compute('once', '60 seconds', sub { ++$worked }) for 1 .. 2;
$cache->set_multi({ a => 1, b => 2 }, '60 seconds');
same [1, 2, undef], $cache->get_multi_arrayref(['a', 'b', 'none']);
same ['a', 'b', 'once', 'user'], [sort $cache->get_keys];
$cache->remove('user');
same undef, $cache->get('user');
$other->set('kept', 'x', '60 seconds');
same ['app', 'other'], [sort $cache->get_namespaces];
$cache->clear;
same [], [$cache->get_keys];
same [undef, 'x'], [$cache->get('a'), $other->get('kept')];
print "ok\n";
