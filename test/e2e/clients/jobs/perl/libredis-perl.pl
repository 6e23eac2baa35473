# Redis.pm.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Job;
use Redis;

ordinary_work('Redis', @ARGV);
print "ok\n";
