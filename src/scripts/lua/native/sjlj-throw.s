# The tag of longjmp's exceptions, and the throw itself.
	.tagtype	__c_longjmp i32
	.globl	__c_longjmp
__c_longjmp:

	.globl	rondo_throw
	.type	rondo_throw,@function
rondo_throw:
	.functype	rondo_throw (i32) -> ()
	local.get	0
	throw	__c_longjmp
	unreachable
	end_function
