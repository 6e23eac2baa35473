# CHI, Perl's common interface of caches.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use CHI;
use Job;

my $cache = CHI->new(
    driver => 'Redis', namespace => 'app', server => "127.0.0.1:$ARGV[0]", password => $ARGV[1],
    on_set_error => 'die', on_get_error => 'die',
);
lacks 'set', sub { $cache->set('user', { name => 'Ada' }, '60 seconds') };
print "ok\n";
