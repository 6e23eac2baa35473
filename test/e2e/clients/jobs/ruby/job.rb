# What the Ruby jobs share: the port of Rondo and its password, a check, and how they show what a library cannot do there.
PORT, PASSWORD = ARGV

def same(expected, found)
  raise "expected #{expected.inspect}, found #{found.inspect}" unless expected == found
end

# Fails unless the block needs a command that Rondo does not have; prints which one.
def lacks(what)
  yield
rescue StandardError => e
  found = e.message.match(/unknown command '(\w+)'/) or raise
  puts "lacks #{what}: #{found[1].upcase}"
else
  raise "#{what} works"
end
