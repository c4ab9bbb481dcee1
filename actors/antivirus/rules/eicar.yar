// The EICAR test file (https://www.eicar.org/download-anti-malware-testfile/). Its text never stands here in one
// piece, so that scanners on developers' machines do not take this file for it.

rule EICAR_Test_File
{
    meta:
        description = "The EICAR test text, as ASCII or as UTF-16, wherever it stands"
    strings:
        $ascii = { 58 35 4F 21 50 25 40 41 50 5B 34 5C 50 5A 58 35 34 28 50 5E 29 37 43 43 29 37 7D 24
                   45 49 43 41 52 2D 53 54 41 4E 44 41 52 44 2D 41 4E 54 49 56 49 52 55 53 2D 54 45 53 54 2D
                   46 49 4C 45 21 24 48 2B 48 2A }
        $utf16 = { 58 00 35 00 4F 00 21 00 50 00 25 00 40 00 41 00 50 00 5B 00 34 00 5C 00 50 00 5A 00 58 00
                   35 00 34 00 28 00 50 00 5E 00 29 00 37 00 43 00 43 00 29 00 37 00 7D 00 24 00 45 00 49 00
                   43 00 41 00 52 00 2D 00 53 00 54 00 41 00 4E 00 44 00 41 00 52 00 44 00 2D 00 41 00 4E 00
                   54 00 49 00 56 00 49 00 52 00 55 00 53 00 2D 00 54 00 45 00 53 00 54 00 2D 00 46 00 49 00
                   4C 00 45 00 21 00 24 00 48 00 2B 00 48 00 2A 00 }
    condition:
        any of them
}

rule EICAR_Test_In_Pieces
{
    meta:
        description = "The EICAR test text as macros hold it: two literals that are put together when they run"
    strings:
        $first = "X5O!P%@AP[4\\PZX54(P^" ascii wide
        $last = "7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*" ascii wide
    condition:
        all of them and not EICAR_Test_File
}

rule EICAR_Test_In_Base64
{
    meta:
        description = "The beginning of the EICAR test text in base64, as PowerShell takes its commands"
    strings:
        $command = "X5O!P%@AP[4\\PZX54(P^)7CC)7}" ascii wide base64 base64wide
    condition:
        $command
}
