# Redis::Fast: Redis.pm's interface over hiredis.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Job;
use Redis::Fast;

ordinary_work('Redis::Fast', @ARGV);
print "ok\n";
