<?php
// Echoes what was posted, so that a body that was cut is no success.
header('Content-Type: text/plain');
echo 'fast ', md5(file_get_contents('php://input')), "\n";
