-- Applies the settlements given, which may be none: then it only says where the day stands.
local problem = obstacle()
if problem then return problem end
settle_given()
return standing()
